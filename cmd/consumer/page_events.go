package main

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// eventWrite is how long a browser may take to accept an event; the
	// connection of a slower one ends, and it connects again.
	eventWrite = 5 * time.Second
	// eventBeat is how often something is sent, so that either side finds out
	// that the other is gone.
	eventBeat = 15 * time.Second
)

// events tells a browser the version of the page's state each time it changes.
// What is new it reads from the page itself.
func (p *page) events(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	versions, end := p.hub.listen()
	if versions == nil {
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer end()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // of proxies
	control := http.NewResponseController(w)
	// The server's own deadlines are for answers that end.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	send := func(text string) bool {
		if control.SetWriteDeadline(p.now().Add(eventWrite)) != nil {
			return false
		}
		if _, err := fmt.Fprint(w, text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	told := func(version string) string { return "event: state\ndata: " + version + "\n\n" }
	beat := time.NewTicker(eventBeat)
	defer beat.Stop()
	for ok := send("retry: 3000\n" + told(p.source.state.Load().Version)); ok; {
		select {
		case version := <-versions:
			ok = send(told(version))
		case <-beat.C:
			ok = send(":\n\n")
		case <-p.hub.done:
			return
		case <-r.Context().Done():
			return
		}
	}
}
