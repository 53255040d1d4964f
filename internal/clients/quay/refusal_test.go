package quay

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// success is the verdict on no error.
var success = verdict{}

func verdictOf(err error) verdict {
	if err == nil {
		return success
	}
	return verdict{pipeline.ClassOf(err), pipeline.ReasonOf(err)}
}

// plainStatuses is the verdict on each status of a bare answer; what is not
// listed is unavailable. None is final: the registry itself gives a code.
var plainStatuses = map[int]verdict{
	http.StatusUnauthorized: credentials,
	http.StatusForbidden:    credentials,
}

// Every status that net/http knows, and some that it does not, at every step of
// a push. The body is what quay.io's front end has been seen to send with a 200.
func TestEveryStatus(t *testing.T) {
	t.Parallel()
	exceptions := map[string]map[int]verdict{
		stepPing:        {200: success, 401: success}, // no login, and one that it does not explain
		stepHeadTag:     {404: success},               // 200 without a digest proves nothing
		stepStart:       {201: success},               // believed here, the fake does not look at its blobs; 202 has no Location
		stepCommit:      {201: success},
		stepPutManifest: {}, // 201 without a digest is not believed: the read-back tells
	}
	for step, exception := range exceptions {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			if step == stepCommit {
				inTwo(f)
			}
			o := newOCI(t, f, nil)
			for status := 200; status < 600; status++ {
				if http.StatusText(status) == "" && status%100 != 99 {
					continue
				}
				want, ok := exception[status]
				if !ok {
					want = plainStatuses[status]
				}
				if !ok && want == success {
					want = passes
				}
				f.failing(step, status, "Healthcheck requested")
				b := etcd("7", "a")
				b.Repository = fmt.Sprintf("myorg/status-%d", status)
				b.Files[0].Data = []byte(b.Repository) // blobs are shared between repositories
				_, err := o.Push(t.Context(), releaseOf(b))
				if got := verdictOf(err); got != want {
					t.Errorf("%s answered by %d: %v, want %v: %v", step, status, got, want, err)
				}
			}
		})
	}
}

// A registry's own refusal is final of a write alone, whatever it is that lies
// in front of the registry and speaks JSON as well.
func TestOnlyRefusedWritesAreFinal(t *testing.T) {
	t.Parallel()
	const page = "<html><body>Down for maintenance</body></html>"
	for step, write := range map[string]bool{
		stepPing: false, stepToken: false, stepHeadTag: false,
		stepStart: true, stepCommit: true, stepPutManifest: true,
	} {
		for _, status := range []int{405, 409, 413, 415} {
			for body, coded := range map[string]bool{
				page: false, `{"message":"no"}`: false, `{"errors":[]}`: false, `{"errors":[{"message":"no"}]}`: false,
				errorsBody("UNSUPPORTED", "no"): true,
			} {
				t.Run(fmt.Sprint(step, status, body), func(t *testing.T) {
					t.Parallel()
					f := newRegistry(t)
					if step == stepCommit {
						inTwo(f)
					}
					k := withTokens(f)
					f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
						if s != step {
							return k.guard(s, w, r)
						}
						w.WriteHeader(status)
						_, _ = io.WriteString(w, body)
						return true
					})
					_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
					want := passes
					if write && coded {
						want = final
					}
					if got := verdictOf(err); got != want {
						t.Errorf("%v, want %v: %v", got, want, err)
					}
				})
			}
		}
	}
}

func TestRefusalSays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want string
	}{
		"code and message": {errorsBody("TAG_INVALID", "manifest tag did not match URI"), ": 400 Bad Request: TAG_INVALID: manifest tag did not match URI"},
		"detail":           {`{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{"message":"no layers"}}]}`, "MANIFEST_INVALID: manifest invalid: no layers"},
		"several":          {`{"errors":[{"code":"A"},{"code":"B","message":"b","detail":["x"]}]}`, ": 400 Bad Request: A; B: b"},
		"nothing":          {``, ": 400 Bad Request"},
		"markup":           {`<html><body>oops</body></html>`, ": 400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			f.failing(stepPutManifest, http.StatusBadRequest, test.body)
			_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
			if err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("error is %v, want …%s", err, test.want)
			}
		})
	}
}

func TestRefusalIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("large and\n\x1b[31m", 100_000)
	for _, body := range []string{long, errorsBody("DENIED", long), errorsBody(long, "")} {
		for step, status := range map[string]int{stepPing: 403, stepHeadTag: 401, stepStart: 500, stepPutManifest: 401} {
			f := newRegistry(t)
			f.failing(step, status, body)
			_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
			if err == nil || len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%s: error is %.2000q", step, fmt.Sprint(err))
			}
		}
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "99999999": 15 * time.Minute, "soon": 0, "-5": 0,
	} {
		f := newRegistry(t)
		f.setFault(func(step string, w http.ResponseWriter, _ *http.Request) bool {
			if step != stepStart {
				return false
			}
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		})
		_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
		wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
		if got := pipeline.AfterOf(err); got != want {
			t.Errorf("Retry-After %q waits %s, want %s", header, got, want)
		}
	}
}

// What the registry says it has must be what was sent.
func TestDigestHeaderIsCompared(t *testing.T) {
	t.Parallel()
	const other = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for _, step := range []string{stepStart, stepCommit, stepPutManifest} {
		f := newRegistry(t)
		if step == stepCommit {
			inTwo(f)
		}
		f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
			if s != step {
				return false
			}
			w.Header().Set("Docker-Content-Digest", other)
			w.WriteHeader(http.StatusCreated)
			return true
		})
		_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
		wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
		if !strings.Contains(err.Error(), "registry has "+other+", not sha256:") {
			t.Errorf("%s: error is %v", step, err)
		}
	}
}

func TestNoSecretInErrors(t *testing.T) {
	t.Parallel()
	echo := func(r *http.Request) []string {
		auth := r.Header.Get("Authorization")
		_, credentials, _ := strings.Cut(auth, " ")
		all := fmt.Sprint(auth, " ", credentials, " ", password, " ", basicHeader())
		return []string{
			all, errorsBody("DENIED", all), errorsBody(all, ""), `{"message":"` + all + `"}`,
			`{"errors":[{"code":"A","detail":{"message":"` + all + `","reason":"` + all + `"}}]}`,
			`{"token":"","text":"` + all + `"}`, `{"refresh_token":"` + all + `"}`, `{"token":` + all,
		}
	}
	steps := []string{stepPing, stepToken, stepHeadTag, stepStart, stepCommit, stepPutManifest}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newRegistry(t)
			if step == stepCommit {
				inTwo(f)
			}
			k := withTokens(f)
			o := newOCI(t, f, nil)
			for _, status := range []int{200, 302, 400, 401, 403, 404, 500} {
				for i := range echo(httptest.NewRequest(http.MethodGet, "/", nil)) {
					f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
						if s != step || s != stepPing && s != stepToken && r.Header.Get("Authorization") == "" {
							return k.guard(s, w, r)
						}
						w.Header().Set("Content-Type", "text/plain")
						w.Header().Set("Location", f.URL+"/elsewhere?secret="+password)
						w.WriteHeader(status)
						_, _ = io.WriteString(w, echo(r)[i])
						return true
					})
					b := etcd("7", "a")
					b.Repository = fmt.Sprintf("myorg/etcd-%d-%d", status, i)
					b.Files[0].Data = []byte(b.Repository)
					p, err := o.Push(t.Context(), releaseOf(b))
					wantNoSecret(t, fmt.Sprint(err), strings.Join(p.Warnings, " "))
					if t.Failed() {
						t.Fatalf("with status %d and body %d", status, i)
					}
				}
			}
		})
	}
}

// The library repeats the address that it will not follow.
func TestNoSignatureOfRealmInErrors(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	k := withTokens(f)
	f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
		if s != stepToken {
			return k.guard(s, w, r)
		}
		http.Redirect(w, r, "http://user:SECRET@10.0.0.1/token?X-Amz-Signature=SECRET", http.StatusFound)
		return true
	})
	_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	if text := err.Error(); strings.Contains(text, "SECRET") || !strings.Contains(text, `"http://10.0.0.1/token"`) {
		t.Errorf("error is %v", err)
	}
}

// So may a registry, of the storage that it stands before.
func TestNoSignatureOfStorageInErrors(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 404} {
		for _, body := range []string{
			errorsBody("UNKNOWN", "no answer of https://s3/x?X-Amz-Signature=SECRET"),
			`{"errors":[{"code":"UNKNOWN","message":"https:\/\/u:SECRET@s3\/x?sig=SECRET"}]}`,
			"no answer of https://u:SECRET@s3/x?X-Amz-Signature=SECRET",
		} {
			f := newRegistry(t)
			f.failing(stepStart, status, body)
			_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
			if err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%d %s: error is %v", status, body, err)
			}
		}
	}
}

func TestNoSecretInNetworkErrors(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	o := newOCI(t, f, nil)
	f.Close()
	_, err := o.Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	wantNoSecret(t, err.Error())
}

// A connection that breaks in the middle of an upload ends the try: what is to
// be done about it is decided above.
func TestBrokenUploadIsNotRepeated(t *testing.T) {
	t.Parallel()
	f := newRegistry(t)
	k := withTokens(f)
	f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
		if s == stepStart {
			panic(http.ErrAbortHandler)
		}
		return k.guard(s, w, r)
	})
	_, err := newOCI(t, f, nil).Push(t.Context(), releaseOf(etcd("7", "a")))
	wantError(t, err, pipeline.Transient, pipeline.ReasonQuayUnavailable)
	wantNoSecret(t, err.Error())
	if n := count(f.taken(), stepStart); n > 2 {
		t.Errorf("two blobs were sent %d times", n)
	}
}
