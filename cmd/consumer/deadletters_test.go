package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/events/eventstest"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// letterBox is a NATS server with dead letters, without a service.
func letterBox(t *testing.T, letters ...nats.Msg) *system {
	t.Helper()
	s := &system{t: t, nats: eventstest.Start(t)}
	if err := events.Provision(t.Context(), s.jetStream(), provisionOptions(DefaultConfig())); err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		s.publish("omps.dead-letter.invalid-event", string(l.Data), l.Header)
	}
	return s
}

// letter is a dead letter as the service writes it.
func letter(subject, data string, more ...string) nats.Msg {
	header := nats.Header{
		events.HeaderReason: {"invalid-event"}, events.HeaderError: {"it is wrong"}, events.HeaderTries: {"1"},
		events.HeaderStream: {"KOJI"}, events.HeaderSequence: {"1"}, events.HeaderSubject: {subject},
	}
	for i := 0; i+1 < len(more); i += 2 {
		header[more[i]] = append(header[more[i]], more[i+1])
	}
	return nats.Msg{Header: header, Data: []byte(data)}
}

// What a running service buried comes back as another letter when it is redriven
// and as wrong as before.
func TestLettersOfARunningService(t *testing.T) {
	t.Parallel()
	s := newSystem(t, sandbox.Options{}, "")
	s.publish("koji.build.completed", "this is not JSON", nil)
	s.publish("koji.build.completed", `{"nvr":"nodashes"}`, nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"bad"}, "ce-source": {"/x"}, "ce-type": {"org.koji.build.completed.v1"},
	})
	s.deadLetters(2)
	code, out, errs := command(t, "deadletters", "ls", "-s", s.nats.URL)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitDone || errs != "" || len(lines) != 3 || !strings.HasPrefix(lines[0], "SEQUENCE") ||
		strings.Count(out, "unreadable-event") != 1 || strings.Count(out, "invalid-event") != 1 {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	code, out, errs = command(t, "deadletters", "redrive", "--all", "--reason", "unreadable-event", "-s", s.nats.URL)
	if code != exitDone || !strings.Contains(out, "sent to koji.build.completed: stream KOJI, sequence 3\n1 of 1 dead letters redriven\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	s.await("the letter is back", func() bool {
		_, out, _ := command(t, "deadletters", "ls", "--json", "--oldest", "--from", "3", "-s", s.nats.URL)
		return strings.Contains(out, `"original_sequence":3`)
	})
	code, out, _ = command(t, "deadletters", "show", "3", "--raw", "-s", s.nats.URL)
	if code != exitDone || out != "this is not JSON" {
		t.Errorf("exit %d: %q", code, out)
	}
}

func TestLettersAreListed(t *testing.T) {
	t.Parallel()
	s := letterBox(t,
		letter("koji.build.completed", `{"nvr":"a-container-1-1"}`),
		letter("koji.build.\x1b[31mred", "\x1b]0;title\x07", events.HeaderError, "two"),
		letter("koji.build.completed", `{"build_id":17}`, "X", "\u202eright to left\u009b"),
	)
	code, out, errs := command(t, "deadletters", "ls", "-s", s.nats.URL)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitDone || len(lines) != 4 || strings.ContainsAny(out, "\x1b\x07") {
		t.Fatalf("exit %d: %q%s", code, out, errs)
	}
	for i, want := range [][]string{
		{"SEQUENCE", "TIME", "REASON", "TRIES", "SUBJECT", "NVR", "ERROR"},
		{"3", "invalid-event", "1", "koji.build.completed", "build 17", "it is wrong"},
		{"2", "koji.build.\ufffd[31mred", "-"}, {"1", "a-container-1-1"},
	} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("no %q in %q", part, lines[i])
			}
		}
	}
	code, out, errs = command(t, "deadletters", "ls", "--limit", "1", "--oldest", "--json", "-s", s.nats.URL)
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone || strings.Count(out, "\n") != 1 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	if got["sequence"] != 1.0 || got["subject"] != "koji.build.completed" || got["original_sequence"] != 1.0 || got["data"] != nil ||
		fmt.Sprint(got["event"]) != "map[nvr:a-container-1-1]" || errs != "there are more: --from 2\n" {
		t.Errorf("%v %q", got, errs)
	}
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{"--nvr", "a-*"}, 1}, {[]string{"--nvr", "b-*"}, 0}, {[]string{"--text", "build_id"}, 1},
		{[]string{"--reason", "invalid-event", "--from", "2"}, 2}, {[]string{"--reason", "internal"}, 0},
	} {
		code, out, _ := command(t, append([]string{"deadletters", "ls", "--json", "-s", s.nats.URL}, tt.args...)...)
		if code != exitDone || strings.Count(out, "\n") != tt.want {
			t.Errorf("%v: exit %d: %s", tt.args, code, out)
		}
	}
}

func TestLetterIsShown(t *testing.T) {
	t.Parallel()
	const escape = "\x1b[2J"
	s := letterBox(t,
		letter("koji.build.completed", "{\n\t\"nvr\": \"a-container-1-1\"\n}", "Content-Type", "text/x", "Omps-Nats-Msg-Id", "original"),
		letter("koji.build.completed", escape, "X-Escape", escape),
		letter("koji.build.completed", "\xff"),
	)
	_, out, _ := command(t, "deadletters", "show", "1", "-s", s.nats.URL)
	for _, want := range []string{
		"sequence  1\n", "error     it is wrong\n", "original  stream KOJI, sequence 1\n", "build     a-container-1-1\n",
		"  Content-Type: text/x\n", "  Nats-Msg-Id: original\n", "payload (29 bytes)\n{\n\t\"nvr\": \"a-container-1-1\"\n}\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out, "Omps-") {
		t.Errorf("names headers that the original had not: %s", out)
	}
	_, out, _ = command(t, "deadletters", "show", "2", "-s", s.nats.URL)
	if strings.Contains(out, "\x1b") || !strings.Contains(out, `"\x1b[2J"`) {
		t.Errorf("%q", out)
	}
	_, out, _ = command(t, "deadletters", "show", "2", "--raw", "-s", s.nats.URL)
	if out != escape {
		t.Errorf("%q", out)
	}
	for sequence, want := range map[string]string{"2": escape, "3": "\xff"} {
		_, out, _ = command(t, "deadletters", "show", sequence, "--json", "-s", s.nats.URL)
		var got struct {
			Data       string              `json:"data"`
			DataBase64 string              `json:"data_base64"`
			Header     map[string][]string `json:"header"`
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || strings.Contains(out, "\x1b") {
			t.Errorf("%v: %q", err, out)
		}
		data, err := base64.StdEncoding.DecodeString(got.DataBase64)
		if err != nil || got.Data+string(data) != want {
			t.Errorf("%s: %+v", sequence, got)
		}
	}
}

// One that cannot be sent does not keep the others back.
func TestLettersAreRedriven(t *testing.T) {
	t.Parallel()
	s := letterBox(t,
		letter("koji.build.completed", "one"),
		letter("$JS.API.STREAM.DELETE.KOJI", "evil"),
		letter("koji.build.completed", "three", "X-Kept", "yes"),
	)
	code, out, errs := command(t, "deadletters", "redrive", "--all", "-s", s.nats.URL)
	if code != exitFailed || !strings.Contains(out, "1 sent to koji.build.completed: stream KOJI, sequence 1\n") ||
		!strings.Contains(out, "3 sent to") || !strings.HasSuffix(out, "2 of 3 dead letters redriven\n") ||
		!strings.Contains(errs, "dead letter 2: stream KOJI takes nothing on") || !strings.Contains(errs, "1 of 3 dead letters not redriven") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	koji, err := s.jetStream().Stream(t.Context(), "KOJI")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := koji.GetLastMsgForSubject(t.Context(), "koji.build.completed")
	if err != nil || string(msg.Data) != "three" || msg.Header.Get("X-Kept") != "yes" || koji.CachedInfo().State.Msgs != 2 {
		t.Errorf("%+v %v", msg, err)
	}
	code, _, errs = command(t, "deadletters", "redrive", "2", "99", "-s", s.nats.URL)
	if code != exitFailed || !strings.Contains(errs, "no dead letter 99 in stream OMPS_DEAD_LETTERS") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestRedrivenLetterThatStays(t *testing.T) {
	t.Parallel()
	s := &system{t: t, nats: eventstest.Start(t)}
	if _, err := s.jetStream().CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "OMPS_DEAD_LETTERS", Subjects: []string{"omps.dead-letter.>"}, DenyDelete: true,
	}); err != nil {
		t.Fatal(err)
	}
	if err := events.Provision(t.Context(), s.jetStream(), provisionOptions(DefaultConfig())); err != nil {
		t.Fatal(err)
	}
	l := letter("koji.build.completed", "one")
	s.publish("omps.dead-letter.internal", string(l.Data), l.Header)
	code, out, errs := command(t, "deadletters", "redrive", "1", "-s", s.nats.URL)
	if code != exitFailed || !strings.Contains(errs, "still there") || !strings.Contains(errs, "drop it") || !strings.Contains(out, "0 of 1") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestLettersAreDropped(t *testing.T) {
	t.Parallel()
	s := letterBox(t, letter("koji.build.completed", `{"nvr":"a-container-1-1"}`), letter("koji.build.completed", "two"), letter("koji.build.completed", "three"))
	code, out, errs := command(t, "deadletters", "drop", "1", "-s", s.nats.URL)
	if code != exitDone || out != "1 dropped: invalid-event on koji.build.completed, a-container-1-1, 25 bytes\n1 of 1 dead letters dropped\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	code, out, errs = command(t, "deadletters", "drop", "--all", "-s", s.nats.URL)
	if code != exitUsage || out != "" || !strings.Contains(errs, "--yes") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	code, out, errs = command(t, "deadletters", "drop", "--all", "--yes", "--limit", "1", "-s", s.nats.URL)
	if code != exitDone || !strings.HasPrefix(out, "2 dropped") || !strings.HasSuffix(out, "1 of 1 dead letters dropped\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if code, out, _ = command(t, "deadletters", "ls", "-s", s.nats.URL); code != exitDone || strings.Count(out, "\n") != 2 {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestLetterCommandsAreChecked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{}, {"ls", "x"}, {"ls", "--limit", "-1"}, {"ls", "--nvr", "["}, {"show"}, {"show", "0"}, {"show", "x"}, {"show", "1", "2"},
		{"show", "1", "--raw", "--json"}, {"redrive"}, {"redrive", "1", "--all"}, {"redrive", "1", "--reason", "internal"},
		{"redrive", "-1"}, {"redrive", "1", "--limit", "1"}, {"drop"}, {"drop", "--all"}, {"drop", "1", "x"},
		{"ls", "-c", "not-there.yaml"},
	} {
		if code, _, errs := command(t, append([]string{"deadletters"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
}

// The configuration says where NATS is and what the stream is called; secrets
// of organizations may be missing.
func TestLettersByConfiguration(t *testing.T) {
	t.Parallel()
	s := &system{t: t, nats: eventstest.Start(t)}
	if _, err := s.jetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "MORGUE", Subjects: []string{"omps.dead-letter.>"}}); err != nil {
		t.Fatal(err)
	}
	l := letter("koji.build.completed", "x")
	s.publish("omps.dead-letter.internal", string(l.Data), l.Header)
	file := filepath.Join(t.TempDir(), "config.yaml")
	config := "nats: {url: " + s.nats.URL + ", streams: {dead_letters: MORGUE}}\norganizations: {myorg: {push_username: a, push_password_file: not-there}}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := command(t, "deadletters", "ls", "-c", file); code != exitDone || !strings.Contains(out, "koji.build.completed") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if code, _, errs := command(t, "deadletters", "ls", "-s", s.nats.URL); code != exitFailed || !strings.Contains(errs, "OMPS_DEAD_LETTERS") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestTerminalText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 5, "-"}, {" \n ", 5, "-"}, {"plain", 5, "plain"}, {"too long", 5, "too l…"}, {"a\r\n\tb", 9, "a b"},
		{"\x1b[0m", 9, "\ufffd[0m"}, {"\u202eabc", 9, "\ufffdabc"}, {"\u009b", 9, "\ufffd"}, {"\xff", 9, "\ufffd"}, {"é€😀x", 3, "é€😀…"},
	} {
		if got := cell(tt.in, tt.limit); got != tt.want {
			t.Errorf("%q: %q, not %q", tt.in, got, tt.want)
		}
	}
	value := "a\x7f\u009b\u202e\U000e0001\u2028é😀\n\"\\"
	var line bytes.Buffer
	if err := writeJSON(&line, value); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(line.Bytes(), &back); err != nil || back != value || !printable(line.Bytes()) || strings.Count(line.String(), "\n") != 1 {
		t.Errorf("%v: %q", err, line.String())
	}
	if at := shortTime(time.Date(2026, 11, 23, 1, 2, 3, 4, time.FixedZone("", 3600))); at != "2026-11-23T00:02:03Z" {
		t.Error(at)
	}
}
