//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// exchange is one request that the service made, and as much of the answer as
// it takes to make the request again.
type exchange struct {
	Server, Method string
	URI            string // behind Upload's location, where there is one
	Header         http.Header
	Status         int // of the answer

	// Upload is the exchange whose answer told where this one goes, -1: none.
	// A registry names each upload anew.
	Upload int
	// Pending are those before it that were under way when it began: it need
	// not wait for them. Together tells that it was under way itself when
	// another began.
	Pending  []int
	Together bool

	Offset, Size int // of the body, where it lies in a file
	body         []byte
}

// recording notes the exchanges of one build.
type recording struct {
	list      []exchange
	locations []string // of the answers
	ended     []bool
}

func (r *recording) begin(server string, req *http.Request, body []byte) int {
	e := exchange{
		Server: server, Method: req.Method, URI: req.URL.RequestURI(), Header: req.Header.Clone(),
		Upload: -1, Size: len(body), body: body,
	}
	for i, ended := range r.ended {
		if !ended {
			e.Pending = append(e.Pending, i)
			r.list[i].Together = true
		}
		if at := r.locations[i]; at != "" && r.list[i].Method == http.MethodPost && strings.HasPrefix(e.URI, at) {
			e.Upload, e.URI = i, strings.TrimPrefix(e.URI, at)
		}
	}
	r.list = append(r.list, e)
	r.locations, r.ended = append(r.locations, ""), append(r.ended, false)
	return len(r.list) - 1
}

func (r *recording) end(i, status int, location string) {
	r.list[i].Status, r.locations[i], r.ended[i] = status, location, true
}

// replayer makes recorded requests again.
type replayer struct {
	urls map[string]string // of the stand-ins
	http *http.Client
}

func newReplayer(urls map[string]string) replayer {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 512
	return replayer{urls: urls, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// run makes the requests of one build, at once those that were made at once. An
// answer of another status than was recorded is an error.
func (p replayer) run(ctx context.Context, list []exchange) error {
	locations := make([]string, len(list))
	errs := make([]error, len(list))
	done := make([]chan struct{}, len(list)) // nil: made already
	for i, e := range list {
		for j := range i {
			if done[j] != nil && !slices.Contains(e.Pending, j) {
				<-done[j]
			}
		}
		base := p.urls[e.Server]
		if e.Upload >= 0 {
			base += locations[e.Upload]
		}
		if !e.Together {
			locations[i], errs[i] = p.send(ctx, base, e)
			continue
		}
		done[i] = make(chan struct{})
		go func() {
			defer close(done[i])
			locations[i], errs[i] = p.send(ctx, base, e)
		}()
	}
	for _, d := range done {
		if d != nil {
			<-d
		}
	}
	return errors.Join(errs...)
}

// send makes one request and reads the answer to its end.
func (p replayer) send(ctx context.Context, base string, e exchange) (location string, err error) {
	req, err := http.NewRequestWithContext(ctx, e.Method, base+e.URI, bytes.NewReader(e.body))
	if err != nil {
		return "", err
	}
	req.Header = e.Header
	resp, err := p.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != e.Status {
		return "", fmt.Errorf("%s %s is answered %d, not %d", e.Method, e.URI, resp.StatusCode, e.Status)
	}
	return resp.Header.Get("Location"), nil
}
