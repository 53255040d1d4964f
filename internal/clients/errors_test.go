package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

func TestReadBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body  string
		limit int64
		large bool
	}{{"", 0, false}, {"abc", 3, false}, {"abcd", 3, true}, {"x", 0, true}} {
		got, err := ReadBody(strings.NewReader(c.body), c.limit)
		if errors.Is(err, ErrTooLarge) != c.large {
			t.Errorf("%q at most %d: %v", c.body, c.limit, err)
		}
		if !c.large && (string(got) != c.body || err != nil) {
			t.Errorf("%q at most %d: %q, %v", c.body, c.limit, got, err)
		}
	}
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := ReadBody(broken, 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken body: %v", err)
	}
}

func TestStatusErrorMessage(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1000)
	for _, c := range []struct{ kind, body, want string }{
		{"application/json", `{"message":"Missing required product version"}`, "Missing required product version"},
		{"application/json", `{"error":{"code":"package-exists","message":"already there"}}`, "already there"},
		{"application/json", `{"error_message":"no such repository","status":404}`, "no such repository"},
		{"application/json", `{"detail":"invalid token"}`, "invalid token"},
		{"application/json", `{"error":"denied"}`, "denied"},
		{"application/json", `{"message":{"nested":1}}`, ""},
		{"application/json", `["message"]`, ""},
		{"application/json", `{"message":"cut off`, ""},
		{"text/html", `<h1>Bad Gateway</h1>`, ""},
		{"", `Bad Gateway`, ""},
		{"text/plain", "Invalid request:\r\n\tsyntax error\x00\x1b[31m\n", "Invalid request: syntax error[31m"},
		{"text/plain; charset=utf-8", long, strings.Repeat("é", 148) + "…"},
	} {
		resp := &http.Response{
			StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {c.kind}},
			Body:    io.NopCloser(strings.NewReader(c.body)),
			Request: httptest.NewRequest(http.MethodGet, "http://h/p", nil),
		}
		if got := New(Options{}).StatusError(resp).Message; got != c.want {
			t.Errorf("%s %.40q: %q, want %q", c.kind, c.body, got, c.want)
		}
	}
}

// TestStatusErrorSwitchingProtocols: the body of 101 is a connection that may
// never say anything.
func TestStatusErrorSwitchingProtocols(t *testing.T) {
	t.Parallel()
	endless, _ := io.Pipe()
	err := New(Options{}).StatusError(&http.Response{
		StatusCode: http.StatusSwitchingProtocols, Body: endless, Request: httptest.NewRequest(http.MethodGet, "http://h/p", nil),
	})
	if err.Code != 101 || err.Error() != "GET http://h/p: 101 Switching Protocols" {
		t.Errorf("%v", err)
	}
}

func TestEveryStatusIsTransient(t *testing.T) {
	t.Parallel()
	for code := 100; code <= 599; code++ {
		status := &StatusError{Method: "GET", URL: "http://h/p", Code: code, RetryAfter: time.Minute}
		bare := pipeline.ReasonOf(fmt.Errorf("wrapped: %w", status))
		err := fmt.Errorf("outer: %w", Unavailable(pipeline.ReasonKojiUnavailable, fmt.Errorf("inner: %w", status)))
		want, wantBare := pipeline.ReasonKojiUnavailable, pipeline.ReasonInternal
		if code == 401 || code == 403 {
			want, wantBare = pipeline.ReasonUnauthorized, pipeline.ReasonUnauthorized
		}
		if got := pipeline.ReasonOf(err); got != want || bare != wantBare {
			t.Errorf("%d: reason %s, bare %s", code, got, bare)
		}
		if pipeline.ClassOf(err) != pipeline.Transient || pipeline.ClassOf(status) != pipeline.Transient {
			t.Errorf("%d: class %s", code, pipeline.ClassOf(err))
		}
		if pipeline.AfterOf(err) != time.Minute {
			t.Errorf("%d: after %s", code, pipeline.AfterOf(err))
		}
	}
	plain := Unavailable(pipeline.ReasonQuayUnavailable, io.EOF)
	if !errors.Is(plain, io.EOF) || pipeline.ReasonOf(plain) != pipeline.ReasonQuayUnavailable {
		t.Errorf("%v", plain)
	}
}

// TestNoSecrets forces every kind of failure with secrets in all places that
// may hold one, and looks for them in errors and logs.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	echo, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/garbled":
			conn, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(conn, "HTTP/1.1 what?\r\n\r\n")
			conn.Close()
		case "/moved":
			w.Header().Set("Location", "ftp://user-s3cret:s3cret@h/?"+r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
		default:
			user, password, _ := r.BasicAuth()
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprintln(w, "you sent", r.URL, r.Header, user, password)
		}
	})
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := newClient(Options{Name: "test", Retries: 1, Logger: log})
	for _, path := range []string{"/echo", "/cut", "/garbled", "/moved", "/%zz"} {
		for _, auth := range []string{"", "Bearer s3cret-token", "Basic dXNlci1zM2NyZXQ6czNjcmV0"} {
			address := strings.Replace(echo, "http://", "http://user-s3cret:pass-s3cret@", 1) + path + "?token=s3cret&x=y"
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
			if err != nil {
				continue // %zz is no address at all; see TestParseURL
			}
			req.Header.Set("Cookie", "session=s3cret")
			if auth != "" {
				req.Header.Set("Authorization", auth)
			}
			resp, err := client.Do(req)
			if err == nil {
				err = client.StatusError(resp)
			}
			for _, secret := range []string{"s3cret", "dXNlci1zM2NyZXQ6czNjcmV0"} {
				if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, secret) {
					t.Errorf("%s %s: %s", path, auth, text)
				}
			}
			if !strings.Contains(err.Error(), "GET "+echo+path) {
				t.Errorf("%s: error does not say what was asked: %v", path, err)
			}
		}
	}
	if strings.Contains(logged.String(), "s3cret") || strings.Contains(logged.String(), "token=") {
		t.Errorf("log: %s", logged.String())
	}
	for _, want := range []string{"client=test", "url=" + echo + "/echo", "code=502", "err=EOF"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("log lacks %s: %s", want, logged.String())
		}
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"https://h", "http://h:8080/kojihub", "https://u:s3cret@h/p"} {
		if u, err := ParseURL(good); err != nil || u.String() != good {
			t.Errorf("%s: %v, %v", good, u, err)
		}
	}
	for _, bad := range []string{
		"", "h", "h:80", "/p", "ftp://s3cret@h", "https://", "https:///p", "https://u:s3cret/x@h", "https://h/%zz?s3cret",
		"https://u:s3cret\x00@h", "https://h?s3cret", "https://h#s3cret", "file:///etc/passwd", "http:s3cret",
	} {
		u, err := ParseURL(bad)
		if err == nil {
			t.Errorf("%q is taken: %v", bad, u)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzOneLine(f *testing.F) {
	for _, s := range []string{"", "plain", "a\r\nb\tc", strings.Repeat("é", 400), "\xff\xfe", "a\u2028b\u202e", "\x1b[31m"} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 3 + int(uint(limit)%500)
		got := OneLine(s, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.TrimSpace(got) != got {
			t.Errorf("%q at most %d: %q", s, limit, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: %q is not printable", s, got)
		}
	})
}
