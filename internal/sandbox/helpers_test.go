package sandbox

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// capture reads a recorded answer of a real server. They lie in ../shared
// beside the checkout.
func capture(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(captureDir(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func captureDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "captures")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no captures to compare with: %v", err)
	}
	return dir
}

func serve(t *testing.T, h http.Handler) *Server {
	t.Helper()
	s, err := Serve(h, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// reply is a response read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, method, url, contentType, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Close = true // a restarted server is not to be met on an old connection
	return send(t, req)
}

func send(t *testing.T, req *http.Request) reply {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(data)}
}

func newKoji(t *testing.T, builds ...Build) (*Koji, *Server) {
	t.Helper()
	k := NewKoji()
	for _, b := range builds {
		if _, err := k.AddBuild(b); err != nil {
			t.Fatal(err)
		}
	}
	return k, serve(t, k)
}

func startKoji(t *testing.T, builds ...Build) *Server {
	t.Helper()
	_, s := newKoji(t, builds...)
	return s
}

func callHub(t *testing.T, s *Server, method string, params ...any) any {
	t.Helper()
	v, err := tryHub(t, s, method, params...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func tryHub(t *testing.T, s *Server, method string, params ...any) (any, error) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("<?xml version='1.0'?>\n<methodCall>\n<methodName>" + method + "</methodName>\n<params>\n")
	for _, p := range params {
		b.WriteString("<param>\n")
		encodeValue(&b, p)
		b.WriteString("</param>\n")
	}
	b.WriteString("</params>\n</methodCall>\n")
	got := do(t, http.MethodPost, s.URL()+hubPath, "text/xml", b.String())
	if got.status != http.StatusOK {
		t.Fatalf("%s: %+v", method, got)
	}
	return decodeAnswer(t, []byte(got.body))
}
