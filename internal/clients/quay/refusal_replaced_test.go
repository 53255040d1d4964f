package quay

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// replaceable is a password that is replaced while it is in use.
type replaceable struct {
	now atomic.Pointer[clients.Secret]
}

func (r *replaceable) Secret() clients.Secret   { return *r.now.Load() }
func (r *replaceable) replace(s clients.Secret) { r.now.Store(&s) }

// What is echoed is the password that was sent, though another is in use by then.
func TestNoReplacedSecretInErrors(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 404, 500} {
		for _, echo := range []string{password, basicHeader()} {
			f := newRegistry(t)
			k := withTokens(f)
			var current replaceable
			current.replace(password)
			f.setFault(func(s string, w http.ResponseWriter, r *http.Request) bool {
				if s != stepToken {
					return k.guard(s, w, r)
				}
				current.replace("another")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, errorsBody("DENIED", "you sent "+echo))
				return true
			})
			_, err := newOCI(t, f, func(o *OCIOptions) { o.Password = &current }).Push(t.Context(), releaseOf(etcd("7", "a")))
			if err == nil || !strings.Contains(err.Error(), "you sent ***") {
				t.Errorf("%d: error is %v", status, err)
			}
			wantNoSecret(t, fmt.Sprint(err))
		}
	}
}
