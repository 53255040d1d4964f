package pipeline

// span says that the bytes [start, end) of a text become text. A list of them
// is sorted and does not overlap.
type span struct {
	start, end int
	text       []byte
}

// splice applies spans to data and returns a new slice. What no span covers is
// copied as it is.
func splice(data []byte, spans []span) []byte {
	size := len(data)
	for _, s := range spans {
		size += len(s.text) - (s.end - s.start)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, s := range spans {
		out = append(append(out, data[at:s.start]...), s.text...)
		at = s.end
	}
	return append(out, data[at:]...)
}

// compose returns the spans that turn the original text into what next makes
// of current, where prev turned the original into current. Spans that meet
// become one.
func compose(prev, next []span, current []byte) []span {
	var out []span
	shift := 0 // place in current less place in the original, behind all of prev passed so far
	for len(prev) > 0 || len(next) > 0 {
		start := firstStart(prev, next, shift)
		end, origStart := start, start-shift
		var inside []span // of next, relative to start
		for grown := true; grown; {
			grown = false
			if len(prev) > 0 && prev[0].start+shift <= end {
				end = max(end, prev[0].start+shift+len(prev[0].text))
				shift += len(prev[0].text) - (prev[0].end - prev[0].start)
				prev, grown = prev[1:], true
			}
			if len(next) > 0 && next[0].start <= end {
				end = max(end, next[0].end)
				inside = append(inside, span{next[0].start - start, next[0].end - start, next[0].text})
				next, grown = next[1:], true
			}
		}
		out = append(out, span{origStart, end - shift, splice(current[start:end], inside)})
	}
	return out
}

func firstStart(prev, next []span, shift int) int {
	switch {
	case len(prev) == 0:
		return next[0].start
	case len(next) == 0:
		return prev[0].start + shift
	}
	return min(prev[0].start+shift, next[0].start)
}
