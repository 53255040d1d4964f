package koji

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// node is an XML element as encoding/xml reads it without any codec.
type node struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
	Nodes   []node `xml:",any"`
}

func parse(t *testing.T, data []byte) node {
	t.Helper()
	var n node
	if err := xml.Unmarshal(data, &n); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return n
}

// meaning renders an XML-RPC document so that two which say the same look the
// same: no layout, members sorted, one name for whole numbers.
func (n node) meaning() string {
	name := n.XMLName.Local
	if name == "i4" || name == "i8" {
		name = "int"
	}
	if len(n.Nodes) == 0 {
		if strings.TrimSpace(n.Text) == "" {
			return "<" + name + "/>"
		}
		return "<" + name + ">" + n.Text + "</" + name + ">"
	}
	var inner []string
	for _, child := range n.Nodes {
		inner = append(inner, child.meaning())
	}
	if name == "struct" {
		slices.Sort(inner)
	}
	return "<" + name + ">" + strings.Join(inner, "") + "</" + name + ">"
}

func capture(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// replay is a hub that answers a captured request, in whatever form it comes,
// with the captured answer.
func replay(t *testing.T) http.HandlerFunc {
	t.Helper()
	requests, err := filepath.Glob("testdata/*.request.xml")
	if err != nil || len(requests) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	answers := make(map[string][]byte)
	for _, file := range requests {
		name := strings.TrimSuffix(filepath.Base(file), ".request.xml")
		answers[parse(t, capture(t, name+".request.xml")).meaning()] = capture(t, name+".response.xml")
	}
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer, ok := answers[parse(t, body).meaning()]
		if !ok || r.Method != http.MethodPost || r.URL.Path != "/kojihub" || r.Header.Get("Content-Type") != "text/xml" {
			t.Errorf("no such request was captured: %s %s %s", r.Method, r.URL, body)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		w.Write(answer)
	}
}

// always answers everything with body.
func always(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }
}

func newClient(t *testing.T, hub, files http.HandlerFunc) *Client {
	t.Helper()
	hubServer, filesServer := httptest.NewServer(hub), httptest.NewServer(files)
	t.Cleanup(hubServer.Close)
	t.Cleanup(filesServer.Close)
	c, err := New(Options{
		HubURL: hubServer.URL + "/kojihub", RootURL: filesServer.URL + "/kojifiles/",
		Hub:   clients.New(clients.Options{Name: "koji", Timeout: 10 * time.Second, Hosts: []string{"127.0.0.1"}}),
		Files: clients.New(clients.Options{Name: "koji-files", Timeout: 10 * time.Second, Hosts: []string{"127.0.0.1"}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer wraps the XML of a value.
func answer(value string) []byte {
	return []byte("<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value>" + value +
		"</value>\n</param>\n</params>\n</methodResponse>\n")
}

// structure is the XML of a struct; members are pairs of a name and a value.
func structure(members ...string) string {
	var b bytes.Buffer
	b.WriteString("<struct>")
	for i := 0; i < len(members); i += 2 {
		b.WriteString("<member><name>" + members[i] + "</name><value>" + members[i+1] + "</value></member>")
	}
	b.WriteString("</struct>")
	return b.String()
}

func array(values ...string) string {
	var b bytes.Buffer
	b.WriteString("<array><data>")
	for _, v := range values {
		b.WriteString("<value>" + v + "</value>")
	}
	b.WriteString("</data></array>")
	return b.String()
}
