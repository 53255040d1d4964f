package greenwave

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func read(t *testing.T, body string) (pipeline.Decision, error) {
	t.Helper()
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return readDecision(answer)
}

// TestOddTypes: a requirement that cannot be read is still one that is not
// satisfied.
func TestOddTypes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		entry string
		want  pipeline.Requirement
	}{
		{`null`, pipeline.Requirement{Type: typeUnreadable}},
		{`"test-result-missing"`, pipeline.Requirement{Type: typeUnreadable}},
		{`{}`, pipeline.Requirement{Type: typeUnreadable}},
		{`{"type":7,"testcase":{"name":"t"}}`, pipeline.Requirement{Type: typeUnreadable}},
		{`{"type":"a","testcase":null,"result_id":"7"}`, pipeline.Requirement{Type: "a"}},
		{`{"type":"a","testcase":"t","result_id":7.5}`, pipeline.Requirement{Type: "a", Testcase: "t"}},
		{`{"type":"a","result_id":-7}`, pipeline.Requirement{Type: "a"}},
		{`{"type":"a","result_id":1e300}`, pipeline.Requirement{Type: "a"}},
		{`{"type":"a","result_id":9007199254740991}`, pipeline.Requirement{Type: "a", ResultID: 9007199254740991}},
		{`{"type":"a","details":["x"],"error":"why"}`, pipeline.Requirement{Type: "a", Details: "why"}},
		{`{"type":"a","details":"first\n\tline","error_reason":"no"}`, pipeline.Requirement{Type: "a", Details: "first line"}},
	} {
		d, err := read(t, `{"policies_satisfied":false,"unsatisfied_requirements":[`+c.entry+`]}`)
		if err != nil || len(d.Unsatisfied) != 1 {
			t.Errorf("%s: %+v, %v", c.entry, d, err)
			continue
		}
		if diff := cmp.Diff(c.want, d.Unsatisfied[0]); diff != "" {
			t.Errorf("%s: %s", c.entry, diff)
		}
	}
	d, err := read(t, `{"policies_satisfied":true,"summary":5,"applicable_policies":["a",null,{"id":"b"},"c"],"unsatisfied_requirements":[]}`)
	if diff := cmp.Diff(pipeline.Decision{Satisfied: true, Policies: []string{"a", "c"}}, d); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, noPass := range []string{
		`{"policies_satisfied":true}`,
		`{"policies_satisfied":true,"applicable_policies":["a"]}`,
		`{"policies_satisfied":true,"applicable_policies":["a"],"unsatisfied_requirements":null}`,
		`{"policies_satisfied":true,"applicable_policies":[],"unsatisfied_requirements":[]}`,
		`{"policies_satisfied":true,"applicable_policies":7,"unsatisfied_requirements":[]}`,
		`{"policies_satisfied":"true","applicable_policies":["a"],"unsatisfied_requirements":[]}`,
	} {
		if d, err := read(t, noPass); err == nil {
			t.Errorf("%s passes: %+v", noPass, d)
		}
	}
	if got := resultID(math.NaN()); got != 0 {
		t.Errorf("NaN is %d", got)
	}
}

// TestBounds: what is kept of the longest decision fits an event, and still
// shows the one requirement that decides.
func TestBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	var entries []string
	for range 3 * maxKept {
		entries = append(entries, fmt.Sprintf(`{"type":"test-result-missing","testcase":%q,"details":%q}`, long, long))
	}
	entries = append(entries, `{"type":"test-result-failed"}`)
	policies := strings.Repeat(`"`+long+`",`, 500) + `"p"`
	d, err := read(t, fmt.Sprintf(`{"policies_satisfied":false,"summary":%q,"applicable_policies":[%s],"unsatisfied_requirements":[%s]}`,
		long, policies, strings.Join(entries, ",")))
	if err != nil {
		t.Fatal(err)
	}
	if last := d.Unsatisfied[len(d.Unsatisfied)-1]; last.Type != "test-result-failed" {
		t.Errorf("the failed requirement is lost among %d", len(d.Unsatisfied))
	}
	if data, err := json.Marshal(d); len(data) > 128<<10 || err != nil {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	entries = nil
	for i := range 3 * maxKept {
		entries = append(entries, fmt.Sprintf(`{"type":"type-%d"}`, i))
	}
	d, err = read(t, `{"policies_satisfied":false,"unsatisfied_requirements":[`+strings.Join(entries, ",")+`]}`)
	if len(d.Unsatisfied) != 2*maxKept || err != nil {
		t.Errorf("%d requirements, %v", len(d.Unsatisfied), err)
	}
}

// FuzzDecision: no answer passes the gate but one that says true in so many
// words.
func FuzzDecision(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.response.json")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var answer map[string]any
		if json.Unmarshal(data, &answer) != nil {
			return
		}
		d, err := readDecision(answer)
		if d.Satisfied && (err != nil || answer["policies_satisfied"] != true) {
			t.Errorf("%s: %+v, %v", data, d, err)
		}
		for _, r := range d.Unsatisfied {
			if r.Type == "" || r.ResultID < 0 {
				t.Errorf("%s: %+v", data, r)
			}
		}
	})
}
