package sandbox

import (
	"slices"
	"testing"
	"time"
)

// A row of listBuilds has the keys, their order and the types of the real hub's.
func TestKojiListsAsTheRealHub(t *testing.T) {
	t.Parallel()
	captureDir(t)
	answer, err := decodeAnswer(t, capture(t, "koji/listBuilds-completeAfter-iso.response.xml"))
	if err != nil {
		t.Fatal(err)
	}
	captured := answer.([]any)
	_, server := newKoji(t, capturedBuilds()...)
	rows := callHub(t, server, "listBuilds", object{
		{"completeAfter", "2026-01-01 00:00:00"}, {"state", int64(1)}, {"type", "operator-manifests"}, {"__starstar", true},
	}).([]any)
	if len(rows) != 1 {
		t.Fatalf("%d rows: %v", len(rows), rows)
	}
	if got, want := shape(rows[0]), shape(captured[len(captured)-1]); got != want {
		t.Errorf("shape is\n%s\nwant\n%s", got, want)
	}
}

func TestKojiListsBuilds(t *testing.T) {
	t.Parallel()
	at := func(seconds float64) time.Time { return time.UnixMicro(int64(1_800_000_000e6 + seconds*1e6)) }
	k, server := newKoji(t,
		Build{ID: 1, NVR: "a-container-1-1", Completed: at(30)},
		Build{ID: 2, NVR: "b-container-1-1", Completed: at(20)},
		Build{ID: 3, NVR: "b-container-1-2", Completed: at(20)},
		Build{ID: 4, NVR: "c-container-1-1", Completed: at(10.5), Form: FormLogs},
		Build{ID: 5, NVR: "d-container-1-1", Completed: at(5), Form: FormNone},
		Build{ID: 6, NVR: "e-container-1-1", State: StateBuilding, Completed: at(6)},
		Build{ID: 7, NVR: "f-container-1-1", Completed: at(7)},
		Build{ID: 8, NVR: "g-container-1-1", Completed: at(8), Draft: true},
	)
	k.DeleteBuild(7)
	for name, tc := range map[string]struct {
		args object
		want []int64
	}{
		"in order of completion": {object{{"queryOpts", object{{"order", "completion_time,-build_id"}}}}, []int64{5, 6, 7, 8, 4, 3, 2, 1}},
		"of the type":            {object{{"type", "operator-manifests"}, {"state", int64(1)}, {"queryOpts", object{{"order", "build_id"}}}}, []int64{1, 2, 3, 8}},
		"no drafts":              {object{{"type", "operator-manifests"}, {"state", int64(1)}, {"draft", false}, {"queryOpts", object{{"order", "build_id"}}}}, []int64{1, 2, 3}},
		"a page":                 {object{{"queryOpts", object{{"order", "-nvr"}, {"offset", int64(2)}, {"limit", int64(3)}}}}, []int64{6, 5, 4}},
		"beyond the end":         {object{{"queryOpts", object{{"offset", int64(99)}, {"limit", int64(3)}}}}, nil},
		"both ends are out": {object{
			{"completeAfter", 1_800_000_010.5}, {"completeBefore", int64(1_800_000_030)}, {"queryOpts", object{{"order", "build_id"}}},
		}, []int64{2, 3}},
		"deleted": {object{{"state", int64(2)}}, []int64{7}},
		"prefix":  {object{{"prefix", "b-"}, {"queryOpts", object{{"order", "build_id"}}}}, []int64{2, 3}},
	} {
		rows := callHub(t, server, "listBuilds", append(tc.args, member{"__starstar", true})).([]any)
		var got []int64
		for _, row := range rows {
			got = append(got, row.(object).get("build_id").(int64))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	for want, args := range map[string]object{
		"fault 1000: unsupported build type: nosuch":               {{"type", "nosuch"}},
		"fault 1000: the sandbox does not filter builds by taskID": {{"taskID", int64(3)}},
		"fault 1: <class 'psycopg2.errors.InvalidDatetimeFormat'>: invalid input syntax for type timestamp with time zone: \"not a date\"": {{"completeAfter", "not a date"}},
	} {
		if _, err := tryHub(t, server, "listBuilds", append(args, member{"__starstar", true})); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
	row := callHub(t, server, "listBuilds", object{{"prefix", "c-"}, {"__starstar", true}}).([]any)[0].(object)
	if row.get("completion_ts") != 1_800_000_010.5 || row.get("completion_time") != "2027-01-15 08:00:10.500000+00:00" || row.has("id") {
		t.Errorf("%v", row)
	}
}
