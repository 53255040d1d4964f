package clients

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestCheckRedirect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		path []string // the addresses so far, then the next
		want string   // of the error; "" follows
		kept bool     // credentials
	}{
		{"same origin", []string{"https://a/x", "https://a/y"}, "", true},
		{"default port spelled out", []string{"https://a/x", "https://a:443/y"}, "", true},
		{"other port", []string{"https://a/x", "https://a:8443/y"}, "", false},
		{"subdomain", []string{"https://a.b/x", "https://c.a.b/y"}, "", false},
		{"other host", []string{"https://a/x", "https://b/y"}, "", false},
		{"to TLS", []string{"http://a/x", "https://a/y"}, "", false},
		{"there and back", []string{"https://a/x", "https://b/y", "https://a/z"}, "", false},
		{"off TLS", []string{"https://a/x", "http://a/y"}, "from https://a/x to http://a/y", false},
		{"off TLS later", []string{"http://a/x", "https://a/y", "http://a/z"}, "from https://a/y to http://a/z", false},
		{"other scheme", []string{"http://a/x", "ftp://a/y"}, "to ftp://a/y", false},
		{"secret query", []string{"https://a/x?token=s3cret", "http://u:s3cret@a/y?token=s3cret"}, "to http://a/y", false},
		{"fifth hop", []string{"http://a/0", "http://a/1", "http://a/2", "http://a/3", "http://a/4", "http://a/5"}, "", true},
		{"sixth hop", []string{"http://a/0", "http://a/1", "http://a/2", "http://a/3", "http://a/4", "http://a/5", "http://a/6"}, "more than 5 hops", true},
	} {
		var hops []*http.Request
		for _, raw := range c.path {
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			hops = append(hops, &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{
				"Authorization": {"Bearer s3cret"}, "Cookie": {"s3cret"}, "Proxy-Authorization": {"s3cret"},
				"Referer": {"https://a/?s3cret"}, "Accept": {"*/*"},
			}})
		}
		next := hops[len(hops)-1]
		err := checkRedirect(next, hops[:len(hops)-1])
		if c.want != "" {
			if !errors.Is(err, errRedirect) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: error %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			if got := next.Header.Get(name) != ""; got != c.kept {
				t.Errorf("%s: %s kept is %v", c.name, name, got)
			}
		}
		if next.Header.Get("Referer") != "" || next.Header.Get("Accept") == "" {
			t.Errorf("%s: headers %v", c.name, next.Header)
		}
	}
}

// TestRedirectsOnTheWire is the same over HTTP, where net/http has its own say.
func TestRedirectsOnTheWire(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Method+" "+r.Header.Get("Authorization")+r.Header.Get("Referer"))
	}))
	t.Cleanup(other.Close)
	here, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Path[1:])
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(code)
	})
	ask := func(method string, code int, to string) (string, error) {
		address := here + "/" + strconv.Itoa(code) + "?to=" + url.QueryEscape(to)
		req, _ := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader("q"))
		req.Header.Set("Authorization", "Bearer s3cret")
		resp, err := newClient(Options{Retries: 2}).Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := ReadBody(resp.Body, 1000)
		return string(body), err
	}
	for _, code := range []int{301, 302, 303, 307, 308} {
		if got, err := ask(http.MethodGet, code, other.URL); got != "GET " || err != nil {
			t.Errorf("GET %d: %q, %v", code, got, err)
		}
	}
	for _, code := range []int{307, 308} {
		if got, err := ask(http.MethodPost, code, other.URL); got != "POST " || err != nil {
			t.Errorf("POST %d: %q, %v", code, got, err)
		}
	}
	for _, code := range []int{301, 302, 303} {
		before := requests.Load()
		if _, err := ask(http.MethodPost, code, other.URL); !errors.Is(err, errRedirect) {
			t.Errorf("POST %d: %v", code, err)
		}
		if requests.Load()-before != 1 {
			t.Errorf("POST %d was sent %d times", code, requests.Load()-before)
		}
	}
	for _, to := range []string{"https://h/%zz?token=s3cret", "http://u:s3cret@h:port/", "http://[s3cret/"} {
		_, err := ask(http.MethodGet, 302, to)
		if !errors.Is(err, errRedirect) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Location %q: %v", to, err)
		}
	}
}
