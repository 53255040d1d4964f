package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// point is a boundary between two steps of a build's way. It makes act be
// called exactly there, while the service waits for an answer that does not come.
type point func(f *fleet, act func())

// atHub is before anything was asked: the event is decoded.
func atHub(f *fleet, act func()) {
	f.world.KojiServer.SetFault(cut(act, func(r *http.Request) bool { return r.Method == http.MethodPost }))
}

// atGreenwave is between lookup and gate.
func atGreenwave(f *fleet, act func()) {
	f.world.GreenwaveServer.SetFault(cut(act, func(*http.Request) bool { return true }))
}

func isDownload(r *http.Request) bool { return r.Method == http.MethodGet }

// atDownload is between gate and fetch.
func atDownload(f *fleet, act func()) { f.world.KojiServer.SetFault(cut(act, isDownload)) }

// amidDownload is when that part of the archive has come.
func amidDownload(numerator, denominator int) point {
	return func(f *fleet, act func()) {
		data := sandbox.SampleArchive()
		f.world.KojiServer.SetFault(func(r *http.Request) *sandbox.Answer {
			if !isDownload(r) {
				return nil
			}
			return &sandbox.Answer{
				Status: http.StatusOK, Header: http.Header{"Content-Length": {strconv.Itoa(len(data))}},
				Body: string(data[:len(data)*numerator/denominator]), Sent: act,
			}
		})
	}
}

// cut acts at the first request that matches, and lets nobody hear of it.
func cut(act func(), matches func(*http.Request) bool) sandbox.Fault {
	return func(r *http.Request) *sandbox.Answer {
		if !matches(r) {
			return nil
		}
		act()
		return &sandbox.Answer{}
	}
}

// lose acts at the first request that matches, which has its effect, and whose
// answer nobody gets.
func lose(act func(), matches func(*http.Request) bool) sandbox.Fault {
	return func(r *http.Request) *sandbox.Answer {
		if !matches(r) {
			return nil
		}
		act()
		return &sandbox.Answer{After: true}
	}
}

// atRegistry is before the first request about an organization's repository:
// its release is prepared, and those of the organizations before it are done.
func atRegistry(org string) point {
	return func(f *fleet, act func()) {
		f.world.RegistryServer.SetFault(cut(act, func(r *http.Request) bool {
			return strings.HasPrefix(r.URL.Path, "/v2/"+org+"/")
		}))
	}
}

// afterBlob is after the n-th layer or config of an organization.
func afterBlob(org, kind string, n int) point {
	return func(f *fleet, act func()) {
		var mu sync.Mutex
		f.world.RegistryServer.SetFault(lose(act, func(r *http.Request) bool {
			isUpload := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/blobs/uploads/")
			if !isUpload || !strings.HasPrefix(r.URL.Path, "/v2/"+org+"/") || kindOfBlob(r) != kind {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			n--
			return n == 0
		}))
	}
}

// kindOfBlob tells a config, which is JSON, from a layer.
func kindOfBlob(r *http.Request) string {
	data, _ := io.ReadAll(r.Body)
	if bytes.HasPrefix(data, []byte("{")) {
		return "config"
	}
	return "layer"
}

// afterTag is after a tag was set, with the image manifest in the same request.
func afterTag(org, tag string) point {
	return func(f *fleet, act func()) {
		var done atomic.Bool
		f.world.RegistryServer.SetFault(lose(act, func(r *http.Request) bool {
			repository, reference, _ := strings.Cut(r.URL.Path, "/manifests/")
			return r.Method == http.MethodPut && strings.HasPrefix(repository, "/v2/"+org+"/") && reference == tag &&
				done.CompareAndSwap(false, true)
		}))
	}
}

// before is when the service sends that message and the server has not got it.
func before(matches func(subject string, data []byte) bool) point {
	return func(f *fleet, act func()) { f.tap.set(&moment{matches: matches, act: act}) }
}

// after is when the server has done what the message says and the service has
// not heard so.
func after(matches func(subject string, data []byte) bool) point {
	return func(f *fleet, act func()) { f.tap.set(&moment{matches: matches, act: act, stored: true}) }
}

func result(outcome pipeline.Outcome, org string) func(string, []byte) bool {
	return func(subject string, _ []byte) bool {
		return strings.HasPrefix(subject, fmt.Sprintf("%s.%s.%s.", events.SubjectResult, outcome, org))
	}
}

func ledgerEntry(outcome pipeline.Outcome, org string) func(string, []byte) bool {
	return func(subject string, data []byte) bool {
		var e entry
		return strings.HasPrefix(subject, "$KV."+events.DefaultNames().Ledger+".") && json.Unmarshal(data, &e) == nil &&
			e.State == string(outcome) && e.Organization == org
	}
}

func deadLetter(subject string, _ []byte) bool {
	// The permission to publish them is tried out at the start.
	return strings.HasPrefix(subject, "omps.dead-letter.") && !strings.HasSuffix(subject, ".preflight")
}

// settling is an answer to JetStream about a message: +ACK, -NAK or +TERM.
func settling(word string) func(string, []byte) bool {
	return func(subject string, data []byte) bool {
		return strings.HasPrefix(subject, "$JS.ACK.") && bytes.HasPrefix(data, []byte(word))
	}
}

// calmDown takes every point away.
func (f *fleet) calmDown() {
	for _, s := range []*sandbox.Server{f.world.KojiServer, f.world.GreenwaveServer, f.world.RegistryServer} {
		s.SetFault(nil)
	}
	if f.tap != nil {
		f.tap.set(nil)
	}
}
