package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

//go:embed page
var pageFiles embed.FS

// page is the status page: what became of builds lately. It only reads, and
// works with what it has when NATS is away. It is safe for concurrent use.
type page struct {
	source *pageSource
	hub    *pageHub
	links  pageLinks
	log    *slog.Logger
	now    func() time.Time

	organizations []string // that are configured
	about         version

	readers   atomic.Pointer[pageReaders] // nil until they are known
	looks     chan struct{}               // has room for one more look at NATS on behalf of a request
	templates map[string]*template.Template
	assets    map[string]asset // by the name that they are served under
}

// asset is a static file.
type asset struct {
	data      []byte
	mediaType string
}

// looksAtNATS bounds how many requests may look at NATS at once, lookTimeout
// how long each does.
const (
	looksAtNATS = 4
	lookTimeout = 1500 * time.Millisecond
)

// newPage makes the page of a service that is not connected to NATS yet.
func newPage(c Config, log *slog.Logger) (*page, error) {
	hub := newPageHub()
	p := &page{
		source: newPageSource(hub), hub: hub, links: newPageLinks(c), log: log, now: time.Now,
		organizations: c.names(), about: buildVersion(),
		looks:     make(chan struct{}, looksAtNATS),
		templates: map[string]*template.Template{}, assets: map[string]asset{},
	}
	slices.Sort(p.organizations)
	addresses, err := p.loadAssets()
	if err != nil {
		return nil, fmt.Errorf("status page: %w", err)
	}
	for _, name := range []string{"list", "build", "missing"} {
		p.templates[name], err = template.New("layout.html").Funcs(p.functions(addresses)).
			ParseFS(pageFiles, "page/layout.html", "page/parts.html", "page/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("status page: %w", err)
		}
	}
	return p, nil
}

// loadAssets names the static files by their content, so that they can be kept
// for ever, and returns their addresses.
func (p *page) loadAssets() (addresses map[string]string, err error) {
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	addresses = map[string]string{}
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		data, err := fs.ReadFile(pageFiles, "page/"+name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		base, ext := strings.TrimSuffix(name, path.Ext(name)), path.Ext(name)
		served := base + "." + hex.EncodeToString(sum[:8]) + ext
		p.assets[served] = asset{data: data, mediaType: types[ext]}
		addresses[name] = "/static/" + served
	}
	return addresses, nil
}

// follow keeps the page up to date in a goroutine of its own, until stop is
// called.
func (p *page) follow(readers pageReaders) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	p.readers.Store(&readers)
	go func() {
		defer close(ended)
		p.source.run(ctx, readers)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// close ends what is open, so that the server can stop at once.
func (p *page) close() { p.hub.close() }

// register adds the page's addresses.
func (p *page) register(mux *http.ServeMux) {
	mux.Handle("GET /{$}", secured(p.list))
	mux.Handle("GET /builds/{organization}/{nvr}", secured(p.build))
	mux.Handle("GET /results/{sequence}", secured(p.result))
	mux.Handle("GET /static/{name}", secured(p.static))
	mux.Handle("GET /events", secured(p.events))
}

// contentPolicy allows what comes from this server as files, and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// secured sets the headers that keep a browser from doing more than show.
func secured(serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		serve(w, r)
	})
}

func (p *page) static(w http.ResponseWriter, r *http.Request) {
	file, ok := p.assets[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", file.mediaType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.data))
}

// render answers with a page. One that a browser has already is not sent again.
func (p *page) render(w http.ResponseWriter, r *http.Request, status int, name string, view any) {
	var body bytes.Buffer
	if err := p.templates[name].ExecuteTemplate(&body, "layout.html", view); err != nil {
		p.log.Error("status page", "page", name, "err", err)
		http.Error(w, "the page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if status != http.StatusOK {
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body.Bytes())
		}
		return
	}
	sum := sha256.Sum256(body.Bytes())
	w.Header().Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body.Bytes()))
}

// functions are those of the templates.
func (p *page) functions(addresses map[string]string) template.FuncMap {
	return template.FuncMap{
		"asset":   func(name string) string { return addresses[name] },
		"text":    func(limit int, s any) string { return shown(fmt.Sprint(s), limit) },
		"took":    took,
		"size":    size,
		"many":    thousands,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"exact":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"ago":     func(t time.Time) string { return ago(t, p.now()) },
		"bar":     newStageBar,
		"address": buildAddress,
		"stages":  stageLegend,
	}
}

// stageLegend are the stages that a bar may show.
func stageLegend() []pipeline.StageName {
	return slices.DeleteFunc(pipeline.StageNames(), func(s pipeline.StageName) bool { return s == pipeline.StageDelete })
}

// withNATS lets look look at NATS, within lookTimeout and beside few others. It
// returns false before there is a connection, and when there is no time.
func (p *page) withNATS(ctx context.Context, look func(context.Context, pageReaders)) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	readers := p.readers.Load()
	if readers == nil || !p.source.state.Load().Connected {
		return false
	}
	select {
	case p.looks <- struct{}{}:
		defer func() { <-p.looks }()
		look(ctx, *readers)
		return true
	case <-ctx.Done():
		return false
	}
}
