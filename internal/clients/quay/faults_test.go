package quay

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// fault is what a request of a push may meet.
type fault struct {
	status int
	body   string
	want   verdict // where it lasts, on a write

	acted   bool // the registry does what a write asks for all the same
	cut     bool // there is no answer: the connection ends
	hung    bool // there is no answer: the caller loses patience
	expired bool // the answer asks for another token
}

var lost = verdict{pipeline.Transient, pipeline.ReasonDeadline}

const readOnlyBody = `{"errors":[{"code":"DENIED","message":"System is currently read-only.","detail":{},"is_readonly":true}]}`

// faults is every exception of Quay's endpoints/v2/errors.py, every code of the
// distribution specification, what lies in front of a registry, and answers
// that are lost.
var faults = []fault{
	{status: 400, body: errorsBody("BLOB_UPLOAD_INVALID", "blob upload invalid"), want: passes},
	{status: 400, body: errorsBody("BLOB_UPLOAD_UNKNOWN", ""), want: passes},
	{status: 400, body: errorsBody("DIGEST_INVALID", "provided digest did not match uploaded content"), want: passes},
	{status: 400, body: errorsBody("INVALID_REQUEST", "Unable to start blob upload for unknown repository"), want: passes},
	{status: 400, body: errorsBody("MANIFEST_BLOB_UNKNOWN", "manifest blob unknown to registry"), want: passes},
	{status: 400, body: errorsBody("MANIFEST_INVALID", "manifest invalid"), want: passes},
	{status: 400, body: errorsBody("MANIFEST_UNVERIFIED", "manifest failed signature verification"), want: final},
	{status: 400, body: errorsBody("NAME_INVALID", "Nested repositories are not supported"), want: final},
	{status: 400, body: errorsBody("SIZE_INVALID", "provided length did not match content length"), want: passes},
	{status: 400, body: errorsBody("TAG_INVALID", "manifest tag did not match URI"), want: final},
	{status: 400, body: errorsBody("UNSUPPORTED", ""), want: final},
	{status: 400, body: `{"errors":[{"code":"UNKNOWN"},{"code":"TAG_INVALID"}]}`, want: final},
	{status: 400, body: `{"errors":[]}`, want: passes},
	{status: 400, body: `{"errors":{"code":"TAG_INVALID"}}`, want: passes},
	{status: 400, body: "not JSON", want: passes},
	{status: 401, body: errorsBody("UNAUTHORIZED", "access to the requested resource is not authorized"), want: credentials},
	{status: 401, body: errorsBody("UNAUTHORIZED", "token expired"), want: credentials, expired: true},
	{status: 402, want: passes},
	{status: 402, body: errorsBody("DENIED", "private repository limit"), want: passes},
	{status: 403, want: credentials},
	{status: 403, body: errorsBody("UNAUTHORIZED", ""), want: credentials},
	{status: 403, body: errorsBody("UNKNOWN", "quota"), want: credentials},
	{status: 403, body: errorsBody("DENIED", "requested access to the resource is denied"), want: credentials},
	{status: 403, body: errorsBody("DENIED", "Quota has been exceed on namespace"), want: final},
	{status: 404, body: errorsBody("BLOB_UNKNOWN", "blob unknown to registry"), want: passes},
	{status: 404, body: errorsBody("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"), want: passes},
	{status: 404, body: errorsBody("MANIFEST_BLOB_UNKNOWN", ""), want: passes},
	{status: 404, body: errorsBody("MANIFEST_UNKNOWN", "manifest unknown"), want: passes},
	{status: 404, body: errorsBody("NAME_UNKNOWN", "repository name not known to registry"), want: passes},
	{status: 404, body: errorsBody("TAG_EXPIRED", "Tag has expired"), want: passes},
	{status: 405, body: readOnlyBody, want: passes},
	{status: 405, body: errorsBody("METHOD NOT ALLOWED", "Pushes to the registry are currently disabled."), want: passes},
	{status: 405, body: errorsBody("DENIED", "This namespace is disabled."), want: final},
	{status: 405, body: errorsBody("UNSUPPORTED", "This repository is for managing application and not container images."), want: final},
	{status: 405, body: errorsBody("UNKNOWN", ""), want: final},
	{status: 409, body: errorsBody("TAG_IMMUTABLE", "tag is immutable"), want: final},
	{status: 409, body: errorsBody("TAG_IMMUTABLE", "tag is immutable"), want: final, acted: true},
	{status: 409, body: errorsBody("TAG_ALREADY_EXISTS", "tag was already pushed"), want: final},
	{status: 413, body: "<html>413 Request Entity Too Large</html>", want: passes},
	{status: 413, body: errorsBody("SIZE_INVALID", "Uploaded blob is larger than allowed"), want: final},
	{status: 415, body: errorsBody("MANIFEST_INVALID", "manifest schema version not supported"), want: final},
	{status: 416, want: passes},
	{status: 416, body: errorsBody("BLOB_UPLOAD_UNKNOWN", ""), want: passes},
	{status: 429, body: errorsBody("TOOMANYREQUESTS", ""), want: passes},
	{status: 500, body: errorsBody("MANIFEST_INVALID", ""), want: passes},
	{status: 500, body: "<html>500 Internal Server Error</html>", want: passes, acted: true},
	{status: 502, want: passes},
	{status: 502, want: passes, acted: true},
	{status: 503, body: errorsBody("UNAVAILABLE", ""), want: passes},
	{status: 504, want: passes},
	{status: 504, want: passes, acted: true},
	{status: 201, want: passes},
	{status: 201, want: passes, acted: true},
	{status: 202, want: passes},
	{status: 202, want: passes, acted: true},
	{status: 200, body: "Healthcheck requested", want: passes},
	{status: 200, body: "Healthcheck requested", want: passes, acted: true},
	{cut: true, want: passes},
	{cut: true, want: passes, acted: true},
	{hung: true, want: lost},
	{hung: true, want: lost, acted: true},
}

func (x fault) String() string {
	text := fmt.Sprint(x.status)
	for flag, set := range map[string]bool{" acted": x.acted, " cut": x.cut, " hung": x.hung, " expired": x.expired} {
		if set {
			text += flag
		}
	}
	return text + " " + x.body
}

// The steps at which the registry's word passes, and at which it can be final.
var (
	readSteps  = []string{stepPing, stepToken, stepHeadTag, stepGetManifest, stepGetBlob}
	writeSteps = []string{stepStart, stepStartOfTwo, stepCommit, stepPutManifest}
)

// at is the verdict on a fault that lasts at one step.
func (x fault) at(step string) verdict {
	switch {
	case x.status == http.StatusConflict && x.acted && step == stepPutManifest:
		return success // each tag names the image, whatever is said of it
	case x.status == http.StatusCreated && x.acted && slices.Contains([]string{stepStart, stepCommit, stepPutManifest}, step):
		return success // it does not say so, but it is done
	case slices.Contains(writeSteps, step):
		return x.want
	case x.cut, x.hung:
		return x.want
	case x.expired && step == stepPing:
		return success // so a login begins
	case x.status == http.StatusUnauthorized, x.status == http.StatusForbidden:
		return credentials
	case x.status == http.StatusOK && step == stepPing:
		return credentials // it seems that there is nothing to log in to
	case x.status == http.StatusNotFound && slices.Contains([]string{stepHeadTag, stepGetManifest, stepGetBlob}, step):
		return success // nothing there, or nothing to yield to
	}
	return passes
}

// lastingAt lists the faults that a step may meet each time. An answer to HEAD
// has no body.
func lastingAt(step string) []fault {
	if strings.HasPrefix(step, http.MethodHead) {
		return withoutBody(faults)
	}
	return faults
}

// onceAt lists the faults that a step may meet once. Of reads, codes make no
// difference, as TestFaultThatLasts shows.
func onceAt(step string) []fault {
	if slices.Contains(readSteps, step) {
		return withoutBody(faults)
	}
	return faults
}

// withoutBody lists what is left of faults where there is no body and nothing to
// act on.
func withoutBody(faults []fault) []fault {
	var distinct []fault
	for _, x := range faults {
		x.body, x.acted = "", false
		if !slices.ContainsFunc(distinct, func(d fault) bool { d.want = x.want; return d == x }) {
			distinct = append(distinct, x)
		}
	}
	return distinct
}

// A fault that lasts has the verdict that the table of rules gives it, and what
// the registry asks to wait is handed up, within reason.
func TestFaultThatLasts(t *testing.T) {
	t.Parallel()
	for _, step := range slices.Concat(readSteps, writeSteps) {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, step)
			for i, x := range lastingAt(step) {
				_, err := f.push(t, f.bundle(t, fmt.Sprint("x", i)), x, always(step))
				want := x.at(step)
				if got := verdictOf(err); got != want {
					t.Errorf("%s: %v, want %v: %v", x, got, want, err)
				}
				if _, ok := pipeline.DoubtOf(err); ok {
					t.Errorf("%s: is doubtful", x)
				}
				var wait time.Duration
				if want.class == pipeline.Transient && x.answersWithWait(step) {
					wait = 15 * time.Minute
				}
				if got := pipeline.AfterOf(err); got != wait {
					t.Errorf("%s: waits %s, want %s: %v", x, got, wait, err)
				}
			}
		})
	}
}

// answersWithWait tells whether a Retry-After comes with the fault and to us:
// the library keeps 401 and, of reads, 200 and 404 to itself, and of writes 201 and
// 202 may not be what goes wrong.
func (x fault) answersWithWait(step string) bool {
	kept := []int{http.StatusUnauthorized}
	switch step {
	case stepStart, stepStartOfTwo:
		kept = append(kept, http.StatusCreated, http.StatusAccepted)
	case stepCommit, stepPutManifest:
		kept = append(kept, http.StatusCreated)
	default:
		kept = append(kept, http.StatusOK, http.StatusNotFound)
	}
	return !x.cut && !x.hung && x.at(step) != success && !slices.Contains(kept, x.status)
}

// Whatever goes wrong once, the same push or the next one ends with the image
// there: complete, under each of its tags, and nothing twice.
func TestFaultThatHappensOnce(t *testing.T) {
	t.Parallel()
	for _, step := range slices.Concat(readSteps, writeSteps) {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, step)
			for i, x := range onceAt(step) {
				for n := 0; n == 0 || !testing.Short(); n++ {
					b := f.bundle(t, fmt.Sprintf("x%d-%d", i, n))
					h := once(step, n)
					p, err := f.push(t, b, x, h)
					if !h.happened() {
						if n == 0 {
							t.Fatal("no push has this step")
						}
						break
					}
					if got := verdictOf(err); got != success && got != x.at(step) {
						t.Errorf("%s, request %d: %v, want %v: %v", x, n, got, x.at(step), err)
					}
					if wait := pipeline.AfterOf(err); wait != 0 {
						t.Errorf("%s: waits %s, which nobody asked for", x, wait)
					}
					if err != nil || len(p.Bundles[0].Tags) != len(b.Tags) {
						if p, err = f.oci.Push(t.Context(), releaseOf7(b)); err != nil {
							t.Fatalf("%s, request %d: the next push: %v", x, n, err)
						}
					}
					f.wantPublished(t, fmt.Sprintf("%s, request %d", x, n), b, p)
					if taken := f.taken.times(h.request()); strings.Contains(step, "upload") && (taken < 1 || taken > 2) {
						t.Errorf("%s: the blob was taken %d times in two tries", x, taken)
					}
				}
			}
		})
	}
}

// Every row of the table decides on some fault.
func TestEveryRuleIsMet(t *testing.T) {
	t.Parallel()
	o := newOCI(t, newRegistry(t), nil)
	met := make([]bool, len(ociRules))
	for _, x := range faults {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			if x.status == 0 {
				continue
			}
			req := httptest.NewRequest(method, "/v2/myorg/etcd/manifests/a", nil)
			resp := &http.Response{StatusCode: x.status, Body: io.NopCloser(strings.NewReader(x.body)), Request: req}
			met[ociRules.ruleFor(o.wire.refused(req, resp))] = true
		}
	}
	for i, rule := range ociRules {
		if !met[i] {
			t.Errorf("no fault meets the rule for %d %s", rule.status, rule.code)
		}
	}
}
