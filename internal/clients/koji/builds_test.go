package koji

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// lister is a hub that lists builds as PostgreSQL would: it takes the paging from
// the request, and notes what it was asked for.
type lister struct {
	mu     sync.Mutex
	builds []listed // in order of completion, then id
	asked  []string // from, offset and limit
	most   int      // rows in one answer
	before func(request int)
	answer func(request int) []byte // nil, or an answer of nil: the builds
}

type listed struct {
	id    int64
	at    time.Time
	extra string // XML; "": an operator's
}

var listStart = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// week is around all that a test lists.
func week() pipeline.Window {
	return pipeline.Window{From: listStart.Add(-time.Hour), To: listStart.Add(7 * 24 * time.Hour)}
}

const operatorExtra = `<struct><member><name>typeinfo</name><value><struct><member><name>operator-manifests</name><value><struct><member><name>archive</name><value><string>m.zip</string></value></member></struct></value></member></struct></value></member></struct>`

func (l listed) xml() string {
	extra := l.extra
	if extra == "" {
		extra = operatorExtra
	}
	return structure("build_id", fmt.Sprintf("<int>%d</int>", l.id), "name", "<string>etcd-container</string>", "version", "<string>1.0</string>",
		"release", fmt.Sprintf("<string>%d</string>", l.id), "state", "<int>1</int>", "draft", "<boolean>0</boolean>", "extra", extra,
		"completion_ts", fmt.Sprintf("<double>%s</double>", strconv.FormatFloat(float64(l.at.UnixMicro())/1e6, 'f', -1, 64)))
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var root node
	if err := xml.Unmarshal(body, &root); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	args, _ := root.Nodes[1].Nodes[0].Nodes[0].value().(map[string]any)
	options, _ := args["queryOpts"].(map[string]any)
	from, to := args["completeAfter"].(float64), args["completeBefore"].(float64)
	offset, limit := options["offset"].(int64), options["limit"].(int64)

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before != nil {
		l.before(len(l.asked))
	}
	l.asked = append(l.asked, fmt.Sprintf("%.0f %d %d", from-float64(listStart.Unix()), offset, limit))
	if l.answer != nil {
		if data := l.answer(len(l.asked) - 1); data != nil {
			_, _ = w.Write(data)
			return
		}
	}
	if args["type"] != "operator-manifests" || args["state"] != int64(1) || options["order"] != "completion_time,build_id" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	var rows []string
	for _, b := range l.builds {
		at := float64(b.at.UnixMicro()) / 1e6
		switch {
		case at <= from || at >= to:
		case offset > 0:
			offset--
		case int64(len(rows)) < limit:
			rows = append(rows, b.xml())
		}
	}
	l.most = max(l.most, len(rows))
	_, _ = w.Write(answer(array(rows...)))
}

// list is the ids that a client lists.
func (l *lister) list(t *testing.T, w pipeline.Window) ([]int64, error) {
	t.Helper()
	var ids []int64
	client := newClient(t, l.ServeHTTP, nil)
	client.pause = 0
	err := client.ListBuilds(t.Context(), w, func(b pipeline.CompletedBuild) error {
		ids = append(ids, b.ID)
		return nil
	})
	return ids, err
}

func checkIDs(t *testing.T, got []int64, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d builds, want %d", len(got), n)
	}
	for i, id := range got {
		if id != int64(i+1) {
			t.Fatalf("build %d is at %d", id, i)
		}
	}
}

func TestListBuildsCaptured(t *testing.T) {
	t.Parallel()
	captured, err := decode(capture(t, "listBuilds-completeAfter-iso.response.xml"))
	rows, ok := captured.([]any)
	if err != nil || !ok || len(rows) != 2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	b, err := readCompleted(rows[0])
	if err != nil || b.ID != 1873407 || b.NVR.String() != "int-vol-operator-metadata-container-v1.0.0-7" || b.State != pipeline.StateComplete ||
		b.ManifestsArchive != archiveName || b.Volume != "vol3" || b.Completed != timeOf(1795332367.647634) {
		t.Errorf("%+v %v", b, err)
	}
	if b, err = readCompleted(rows[1]); err != nil || b.ID != 1873403 || b.Completed != timeOf(1795332367) {
		t.Errorf("%+v %v", b, err)
	}
	// It was asked for the newest first, which nobody who reads pages asks for.
	hub := &lister{answer: func(int) []byte { return capture(t, "listBuilds-completeAfter-iso.response.xml") }}
	w := pipeline.Window{From: b.Completed.Add(-time.Hour), To: b.Completed.Add(time.Hour)}
	if got, err := hub.list(t, w); len(got) > 0 || err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("%v %v", got, err)
	}
	if err := newClient(t, always(capture(t, "listBuilds-empty.response.xml")), nil).ListBuilds(t.Context(), week(), func(pipeline.CompletedBuild) error {
		return errors.New("there is none")
	}); err != nil {
		t.Error(err)
	}
}

func TestListBuildsPages(t *testing.T) {
	t.Parallel()
	spread := func(n int, step time.Duration) []listed {
		list := make([]listed, n)
		for i := range list {
			list[i] = listed{id: int64(i + 1), at: listStart.Add(time.Duration(i) * step)}
		}
		return list
	}
	for name, tt := range map[string]struct {
		builds   []listed
		requests int
	}{
		"none":                   {nil, 1},
		"one short of a page":    {spread(pageSize-1, time.Minute), 1},
		"a page":                 {spread(pageSize, time.Minute), 2},
		"many pages":             {spread(1000, 10*time.Minute), 11},
		"all at one moment":      {spread(450, 0), 5},
		"bursts":                 {append(spread(250, 0), later(spread(300, time.Millisecond), 250, time.Hour)...), 7},
		"a millisecond for each": {spread(1500, time.Millisecond), 0},
		"a microsecond for each": {spread(350, time.Microsecond), 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := &lister{builds: tt.builds}
			got, err := hub.list(t, week())
			if err != nil {
				t.Fatal(err)
			}
			checkIDs(t, got, len(tt.builds))
			if tt.requests != 0 && len(hub.asked) != tt.requests {
				t.Errorf("%d requests, want %d: %v", len(hub.asked), tt.requests, hub.asked)
			}
			if hub.most > pageSize {
				t.Errorf("an answer of %d builds", hub.most)
			}
		})
	}
}

// later is a list after so many others, and after so much time.
func later(list []listed, n int64, d time.Duration) []listed {
	for i := range list {
		list[i].id += n
		list[i].at = list[i].at.Add(d)
	}
	return list
}

// A build that is deleted while pages are read moves the others up. None of them
// is left out.
func TestListBuildsWhileBuildsAreDeleted(t *testing.T) {
	t.Parallel()
	hub := &lister{}
	for i := range 500 {
		hub.builds = append(hub.builds, listed{id: int64(i + 1), at: listStart.Add(time.Duration(i) * time.Minute)})
	}
	hub.before = func(request int) {
		if request > 0 && request < 4 {
			hub.builds = hub.builds[1:] // they were listed
		}
	}
	got, err := hub.list(t, week())
	if err != nil {
		t.Fatal(err)
	}
	checkIDs(t, got, 500)
}

// Of 10,000 builds no more than a page is in memory at once: that many are
// decoded before visit has seen them.
func TestListBuildsIsBounded(t *testing.T) {
	t.Parallel()
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	hub := &lister{}
	for i := range n {
		hub.builds = append(hub.builds, listed{id: int64(i + 1), at: listStart.Add(time.Duration(i) * 30 * time.Second), extra: "<nil/>"})
	}
	visited := 0
	client := newClient(t, hub.ServeHTTP, nil)
	client.pause = 0
	err := client.ListBuilds(t.Context(), week(), func(pipeline.CompletedBuild) error {
		hub.mu.Lock()
		defer hub.mu.Unlock()
		visited++
		if ahead := len(hub.asked)*pageSize - visited; ahead > 2*pageSize {
			return fmt.Errorf("%d builds were asked for before they were looked at", ahead)
		}
		return nil
	})
	if err != nil || visited != n {
		t.Errorf("%d builds: %v", visited, err)
	}
}

func TestListBuildsHalvesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("reads 150 MB")
	}
	huge := "<string>" + strings.Repeat("x", maxAnswer/5*2) + "</string>"
	hub := &lister{}
	for i := range 120 {
		b := listed{id: int64(i + 1), at: listStart.Add(time.Duration(i) * time.Minute)}
		if i%40 == 0 {
			b.extra = huge
		}
		hub.builds = append(hub.builds, b)
	}
	got, err := hub.list(t, week())
	if err != nil {
		t.Fatal(err)
	}
	checkIDs(t, got, 120)
	if !strings.HasSuffix(hub.asked[0], " 100") || !strings.HasSuffix(hub.asked[2], " 50") {
		t.Errorf("%v", hub.asked)
	}
	tooLarge := []byte(strings.Repeat("x", maxAnswer+1))
	hub = &lister{answer: func(int) []byte { return tooLarge }}
	if _, err = hub.list(t, week()); pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable || len(hub.asked) != 7 {
		t.Errorf("%v after %v", err, hub.asked)
	}
}

// A hub that fails midway: what came before was visited, and the error is that
// of any call.
func TestListBuildsFailsMidway(t *testing.T) {
	t.Parallel()
	hub := &lister{}
	for i := range 300 {
		hub.builds = append(hub.builds, listed{id: int64(i + 1), at: listStart.Add(time.Duration(i) * time.Minute)})
	}
	hub.answer = func(request int) []byte {
		if request < 2 {
			return nil
		}
		return capture(t, "fault-server-offline.response.xml")
	}
	got, err := hub.list(t, week())
	if pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable || pipeline.ClassOf(err) != pipeline.Transient || len(got) < 190 || len(got) > 200 {
		t.Errorf("%d builds and %v", len(got), err)
	}
	checkIDs(t, got, len(got))
}

func TestListBuildsRefusesNonsense(t *testing.T) {
	t.Parallel()
	good := listed{id: 7, at: listStart}
	without := func(change func(string) string) []byte { return answer(array(change(good.xml()))) }
	replace := func(old, with string) []byte {
		return without(func(s string) string { return strings.Replace(s, old, with, 1) })
	}
	var many []string
	for i := range pageSize + 1 {
		many = append(many, listed{id: int64(i + 1), at: listStart}.xml())
	}
	ts := "<double>" + strconv.FormatInt(listStart.Unix(), 10) + "</double>"
	for name, tt := range map[string]struct {
		body []byte
		want string
	}{
		"no array":            {answer("<int>3</int>"), "answer is not an array"},
		"nil":                 {answer("<nil/>"), "answer is not an array"},
		"a row is no struct":  {answer(array("<int>3</int>")), "answer is not a struct"},
		"no id":               {replace("build_id", "other"), "build has no id"},
		"id is a text":        {replace("<int>7</int>", "<string>7</string>"), "build has no id"},
		"no name":             {replace("etcd-container", ""), "empty part"},
		"a path for a name":   {replace("etcd-container", "../etc"), "no build name has"},
		"a state of its own":  {replace("<int>1</int>", "<int>17</int>"), "state is not one of Koji's"},
		"no time":             {replace(ts, "<nil/>"), "does not say when"},
		"a text for a time":   {replace(ts, "<string>today</string>"), "does not say when"},
		"not a number":        {replace(ts, "<double>NaN</double>"), "does not say when"},
		"the end of time":     {replace(ts, "<double>1e300</double>"), "does not say when"},
		"negative":            {replace(ts, "<double>-5</double>"), "does not say when"},
		"long ago":            {replace(ts, "<double>1000000</double>"), "out of order"},
		"in the future":       {replace(ts, "<double>9000000000</double>"), "out of order"},
		"backwards":           {answer(array(listed{id: 2, at: listStart.Add(time.Minute)}.xml(), good.xml())), "out of order"},
		"more than asked for": {answer(array(many...)), "101 builds instead of 100"},
		"not XML":             {[]byte("<html>maintenance</html>"), "answer is not XML-RPC"},
		"unknown keyword":     {capture(t, "listBuilds-fault-unknown-keyword.response.xml"), "fault 1019"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := &lister{answer: func(int) []byte { return tt.body }}
			got, err := hub.list(t, week())
			if len(got) > 0 || pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v and %v, want %q", got, err, tt.want)
			}
			if len(hub.asked) != 1 {
				t.Errorf("asked %d times", len(hub.asked))
			}
		})
	}
}

// A hub that answers with whole seconds as numbers, as none does, is understood.
func TestListBuildsTakesWholeSeconds(t *testing.T) {
	t.Parallel()
	ts := strconv.FormatInt(listStart.Unix(), 10)
	row := strings.Replace(listed{id: 7, at: listStart}.xml(), "<double>"+ts+"</double>", "<int>"+ts+"</int>", 1)
	got, err := (&lister{answer: func(int) []byte { return answer(array(row)) }}).list(t, week())
	if err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
}

// A hub that never comes to an end does not keep us for ever.
func TestListBuildsEnds(t *testing.T) {
	t.Parallel()
	hub := &lister{}
	hub.answer = func(request int) []byte {
		rows := make([]string, pageSize)
		for i := range rows {
			n := request*pageSize + i
			rows[i] = listed{id: int64(n + 1), at: listStart.Add(time.Duration(n) * time.Minute)}.xml()
		}
		return answer(array(rows...))
	}
	_, err := hub.list(t, pipeline.Window{From: week().From, To: listStart.Add(10 * time.Hour)})
	if pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable || !strings.Contains(err.Error(), "out of order") {
		t.Error(err)
	}
}

func TestListBuildsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	hub := &lister{}
	for i := range 300 {
		hub.builds = append(hub.builds, listed{id: int64(i + 1), at: listStart.Add(time.Duration(i) * time.Minute)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := newClient(t, hub.ServeHTTP, nil).ListBuilds(ctx, week(), func(pipeline.CompletedBuild) error {
		if n++; n == pageSize {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != pageSize || len(hub.asked) != 1 {
		t.Errorf("%d builds, %d requests: %v", n, len(hub.asked), err)
	}
}
