package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/omps-consumer/omps-consumer/internal/events"
)

// How wide the columns of dead letters may get, in characters.
const (
	maxReasonCell  = 30
	maxSubjectCell = 50
	maxNVRCell     = 60
	maxErrorCell   = 100
)

// letterTable prints a line for each dead letter.
type letterTable struct {
	out   *tabwriter.Writer
	empty bool
}

func newLetterTable(w io.Writer) *letterTable {
	return &letterTable{out: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), empty: true}
}

func (t *letterTable) add(l events.DeadLetter) error {
	if t.empty {
		t.empty = false
		if _, err := fmt.Fprintln(t.out, "SEQUENCE\tTIME\tREASON\tTRIES\tSUBJECT\tNVR\tERROR"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(t.out, "%d\t%s\t%s\t%d\t%s\t%s\t%s\n", l.Sequence, shortTime(l.Time), cell(l.Reason, maxReasonCell),
		l.Tries, cell(l.Subject, maxSubjectCell), cell(buildOf(l), maxNVRCell), cell(l.Error, maxErrorCell))
	return err
}

func (t *letterTable) flush() error { return t.out.Flush() }

func shortTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// buildOf is what a letter calls its build.
func buildOf(l events.DeadLetter) string {
	if l.Event.NVR == "" && l.Event.BuildID != 0 {
		return "build " + strconv.FormatInt(l.Event.BuildID, 10)
	}
	return l.Event.NVR
}

// letterJSON is a dead letter as JSON. Times are RFC 3339.
type letterJSON struct {
	Sequence         uint64     `json:"sequence"`
	Time             time.Time  `json:"time"`
	Reason           string     `json:"reason"`
	Error            string     `json:"error"`
	Stage            string     `json:"stage,omitempty"`
	Tries            uint64     `json:"tries"`
	Stream           string     `json:"stream"`
	OriginalSequence uint64     `json:"original_sequence"`
	OriginalTime     *time.Time `json:"original_time,omitempty"`
	Subject          string     `json:"subject"`
	Omitted          string     `json:"omitted,omitempty"`
	Bytes            int        `json:"bytes"` // of the payload
	Event            eventJSON  `json:"event"`

	Header     nats.Header `json:"header,omitempty"`
	Data       *string     `json:"data,omitempty"`        // the payload, where it is UTF-8
	DataBase64 []byte      `json:"data_base64,omitempty"` // any other
}

// eventJSON is what can be read of a dead letter's event.
type eventJSON struct {
	ID      string `json:"id,omitempty"`
	Type    string `json:"type,omitempty"`
	Source  string `json:"source,omitempty"`
	NVR     string `json:"nvr,omitempty"`
	BuildID int64  `json:"build_id,omitempty"`
}

func letterData(l events.DeadLetter) letterJSON {
	data := letterJSON{
		Sequence: l.Sequence, Time: l.Time, Reason: l.Reason, Error: l.Error, Stage: l.Stage, Tries: l.Tries,
		Stream: l.Stream, OriginalSequence: l.OriginalSequence, Subject: l.Subject, Omitted: l.Omitted, Bytes: l.Bytes,
		Event: eventJSON{ID: l.Event.ID, Type: l.Event.Type, Source: l.Event.Source, NVR: l.Event.NVR, BuildID: l.Event.BuildID},
	}
	if !l.OriginalTime.IsZero() {
		data.OriginalTime = &l.OriginalTime
	}
	return data
}

func wholeLetterData(l events.DeadLetter) letterJSON {
	data := letterData(l)
	data.Header = l.Header
	if utf8.Valid(l.Data) {
		text := string(l.Data)
		data.Data = &text
	} else {
		data.DataBase64 = l.Data
	}
	return data
}

// printLetter prints everything of a letter. A payload that a terminal might
// obey is quoted as in Go.
func printLetter(w io.Writer, l events.DeadLetter) error {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name, plain(value))
		}
	}
	line("sequence", strconv.FormatUint(l.Sequence, 10))
	line("time", l.Time.UTC().Format(time.RFC3339Nano))
	line("reason", l.Reason)
	line("error", l.Error)
	line("stage", l.Stage)
	line("tries", strconv.FormatUint(l.Tries, 10))
	line("subject", l.Subject)
	original := fmt.Sprintf("stream %s, sequence %d", l.Stream, l.OriginalSequence)
	if !l.OriginalTime.IsZero() {
		original += ", stored " + l.OriginalTime.Format(time.RFC3339Nano)
	}
	line("original", original)
	line("omitted", l.Omitted)
	line("event id", l.Event.ID)
	line("type", l.Event.Type)
	line("source", l.Event.Source)
	line("build", buildOf(l))
	b.WriteString("\nheader\n")
	for _, name := range slices.Sorted(maps.Keys(l.Header)) {
		for _, value := range l.Header[name] {
			fmt.Fprintf(&b, "  %s: %s\n", plain(name), plain(value))
		}
	}
	payload := string(l.Data)
	if !printable(l.Data) {
		payload = strconv.Quote(payload)
	}
	fmt.Fprintf(&b, "\npayload (%d bytes)\n%s\n", l.Bytes, payload)
	_, err := io.WriteString(w, b.String())
	return err
}
