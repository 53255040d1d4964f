package koji

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// TestHubEveryStatus: only 200 is an answer.
func TestHubEveryStatus(t *testing.T) {
	t.Parallel()
	code := 0
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Retry-After", "40")
		w.WriteHeader(code)
		if code != 204 && code != 304 {
			fmt.Fprint(w, "words for people")
		}
	}, nil)
	for code = 200; code <= 599; code++ {
		err := client.Ping(t.Context())
		reason, after := pipeline.ReasonKojiUnavailable, 40*time.Second
		if code == 401 || code == 403 {
			reason = pipeline.ReasonUnauthorized
		}
		if code == 200 {
			after = 0 // not XML-RPC
		}
		if pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != reason || pipeline.AfterOf(err) != after {
			t.Errorf("%d: %s %s %s: %v", code, pipeline.ClassOf(err), pipeline.ReasonOf(err), pipeline.AfterOf(err), err)
		}
		status := (*clients.StatusError)(nil)
		if errors.As(err, &status) == (code == 200) || status != nil && status.Code != code {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestHubSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "Invalid request: %s\n", "syntax error: line 1, column 0")
	}, nil)
	err := client.Ping(t.Context())
	if err == nil || !strings.Contains(err.Error(), "400 Bad Request: Invalid request: syntax error: line 1, column 0") {
		t.Error(err)
	}
}

// TestUnusableAnswers: cut off, over-long, late and foreign answers with
// status 200.
func TestUnusableAnswers(t *testing.T) {
	t.Parallel()
	good := capture(t, "getBuild-operator-by-id.response.xml")
	for name, hub := range map[string]http.HandlerFunc{
		"empty": always(nil),
		"page":  always([]byte("<!DOCTYPE html><html><body>Login</body></html>")),
		"json":  always([]byte(`{"id": 1873402}`)),
		"half":  always(good[:len(good)/2]),
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(good)))
			w.Write(good[:len(good)/2])
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			blank := []byte(strings.Repeat(" ", 1<<20))
			for range maxAnswer>>20 + 1 {
				w.Write(blank)
			}
		},
		"dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		_, err := newClient(t, hub, nil).FindBuild(t.Context(), 1873402, pipeline.NVR{})
		if pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable || pipeline.ClassOf(err) != pipeline.Transient {
			t.Errorf("%s: %s %s: %v", name, pipeline.ClassOf(err), pipeline.ReasonOf(err), err)
		}
		if errors.Is(err, clients.ErrTooLarge) != (name == "endless") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHubDeadline(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does the server see the client go
		<-r.Context().Done()
	}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) || pipeline.ClassOf(err) != pipeline.Transient {
		t.Error(err)
	}
}

// TestNoSecrets: the credentials of a configured address are in no error.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	c := clients.New(clients.Options{})
	for _, o := range []Options{
		{HubURL: "https://u:s3cret/x@h", RootURL: "https://h", Hub: c, Files: c},
		{HubURL: "https://h", RootURL: "https://u:s3cret@h:port/", Hub: c, Files: c},
		{HubURL: "https://h?s3cret", RootURL: "https://h", Hub: c, Files: c},
		{HubURL: "https://h", RootURL: "https://h", Hub: c},
		{HubURL: "https://h", RootURL: "https://h", Files: c},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
	echo := func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		http.Error(w, fmt.Sprint(user, password, r.Header, r.URL), http.StatusForbidden)
	}
	client := newClient(t, echo, echo)
	client.hubURL.User = url.UserPassword("user-s3cret", "pass-s3cret")
	client.rootURL.User = url.UserPassword("user-s3cret", "pass-s3cret")
	_, err := client.OpenArchive(t.Context(), pipeline.Archive{Path: "x"})
	for _, err := range []error{err, client.Ping(t.Context())} {
		if pipeline.ReasonOf(err) != pipeline.ReasonUnauthorized || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
}
