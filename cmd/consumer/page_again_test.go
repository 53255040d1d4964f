package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// pageFront is what stands before the servers of a page.
type pageFront struct {
	url          string
	list, events atomic.Pointer[httputil.ReverseProxy]
	broken       atomic.Bool  // lists are answered with an error
	lists        atomic.Int64 // that were asked for
}

func newPageFront(t *testing.T) *pageFront {
	t.Helper()
	f := &pageFront{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			f.events.Load().ServeHTTP(w, r)
			return
		case "/":
			f.lists.Add(1)
			if f.broken.Load() {
				http.Error(w, "no server is there", http.StatusBadGateway)
				return
			}
		}
		f.list.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections() // of events, which do not end
		s.Close()
	})
	f.url = s.URL
	return f
}

func proxyTo(t *testing.T, server string) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	return proxy
}

// A page that cannot be fetched is fetched again, and does not pass for up to
// date until then.
func TestPageIsFetchedAgain(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	g := &given{first: 1}
	g.add(row("one-1-1", "myorg", "published"))
	_, server := givenPage(t, g)
	shows(t, server+"/", "one-1-1")
	f := newPageFront(t)
	f.list.Store(proxyTo(t, server))
	f.events.Store(f.list.Load())
	b.do(chromedp.Navigate(f.url + "/"))
	const says = `document.getElementById("live-text").textContent === `
	b.is(says + `"Live"`)
	f.broken.Store(true)
	g.add(row("two-1-1", "myorg", "rejected"))
	b.is(says + `"Connecting"`)
	b.do(chromedp.Click("#live"))
	b.is(says + `"Paused"`)
	b.do(chromedp.Click("#live"))
	b.is(says + `"Connecting"`)
	f.broken.Store(false)
	b.is(says + `"Live" && document.getElementById("list").textContent.includes("two-1-1")`)
	b.quiet()
}

// Of several replicas one may tell of what the one that is asked does not know
// yet.
func TestPageOfSeveralReplicas(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	ahead, behind := &given{first: 1}, &given{first: 1}
	_, first := givenPage(t, ahead)
	_, second := givenPage(t, behind)
	shows(t, first+"/", "Nothing was published yet") // from now on it looks every second
	f := newPageFront(t)
	f.events.Store(proxyTo(t, first))
	f.list.Store(proxyTo(t, second))
	b.do(chromedp.Navigate(f.url + "/"))
	b.is(`document.getElementById("live-text").textContent === "Live"`)
	b.do(chromedp.Evaluate(`window.stayed = true`, nil))
	before := f.lists.Load()
	ahead.add(row("one-1-1", "myorg", "published"))
	(&system{t: t}).await("a look at the list", func() bool { return f.lists.Load() > before })
	behind.add(row("one-1-1", "myorg", "published"))
	b.is(`document.getElementById("list").textContent.includes("one-1-1") && window.stayed`)
	b.quiet()
}

// A process counts its states from the beginning, and no state has the version
// of another process's.
func TestPageVersionsAreOfOneProcess(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 2 {
		g := &given{first: 1}
		source := newPageSource(newPageHub())
		f := following(g)
		f.word = source.word
		for _, version := range []string{source.state.Load().Version, f.snapshot().Version, f.snapshot().Version} {
			if seen[version] || strings.ContainsAny(version, " \r\n\"") {
				t.Errorf("version %q", version)
			}
			seen[version] = true
		}
	}
}
