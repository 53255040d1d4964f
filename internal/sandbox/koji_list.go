package sandbox

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// listBuilds filters by prefix, state, type, draft and the time of completion.
// What else a hub can filter by is a fault here, as in listArchives.
func (k *Koji) listBuilds(args map[string]any) (any, error) {
	for name, v := range args {
		if v != nil && !slices.Contains([]string{"prefix", "state", "type", "draft", "completeAfter", "completeBefore", "queryOpts"}, name) {
			return nil, genericFault("the sandbox does not filter builds by %s", name)
		}
	}
	matches, err := buildFilter(args)
	if err != nil {
		return nil, err
	}
	var list []*hubBuild
	for _, r := range k.byID {
		if matches(r) {
			list = append(list, r)
		}
	}
	options, _ := args["queryOpts"].(object)
	if options.get("countOnly") == true {
		return int64(len(list)), nil
	}
	if err := sortBuilds(list, options); err != nil {
		return nil, err
	}
	rows := []any{}
	for _, r := range cutPage(list, options) {
		rows = append(rows, r.row())
	}
	return rows, nil
}

// buildFilter is the where clause of listBuilds' arguments.
func buildFilter(args map[string]any) (func(*hubBuild) bool, error) {
	kind, _ := args["type"].(string)
	if !slices.Contains([]string{"", "operator-manifests", "image"}, kind) {
		return nil, genericFault("unsupported build type: %s", kind)
	}
	after, err := timeOf(args["completeAfter"])
	if err != nil {
		return nil, err
	}
	before, err := timeOf(args["completeBefore"])
	if err != nil {
		return nil, err
	}
	prefix, _ := args["prefix"].(string)
	return func(r *hubBuild) bool {
		bounded := !after.IsZero() || !before.IsZero()
		completed := r.completed()
		switch {
		case !strings.HasPrefix(r.nvr.Name, prefix),
			args["state"] != nil && args["state"] != r.State.number(),
			args["draft"] != nil && args["draft"] != r.Draft,
			kind != "" && (r.NoExtra || !r.State.imported()),
			kind == "operator-manifests" && r.Form != FormArchive,
			bounded && r.State == StateBuilding, // its completion is nil
			!after.IsZero() && !completed.After(after),
			!before.IsZero() && !completed.Before(before):
			return false
		}
		return true
	}, nil
}

// timeOf reads a time as hubs take it: seconds, or a text in the hub's zone. It
// is zero when absent, and for what Python holds for false.
func timeOf(v any) (time.Time, error) {
	switch v := v.(type) {
	case int64:
		return timeOf(float64(v))
	case float64:
		if v == 0 {
			return time.Time{}, nil
		}
		return time.UnixMicro(int64(v*1e6 + 0.5)).UTC(), nil
	case string:
		t, err := time.Parse(time.DateTime, v)
		if err != nil {
			return t, &rpcFault{code: 1, text: fmt.Sprintf("<class 'psycopg2.errors.InvalidDatetimeFormat'>: invalid input syntax for type timestamp with time zone: %q", v)}
		}
		return t, nil
	}
	return time.Time{}, nil
}

// sortBuilds sorts by queryOpts' order: names of columns with commas between, a
// dash before one that goes down. Without one the order is a database's: none.
func sortBuilds(list []*hubBuild, options object) error {
	order, _ := options.get("order").(string)
	if order == "" {
		return nil
	}
	columns := strings.Split(order, ",")
	for _, column := range columns {
		if _, ok := compareBy(strings.TrimPrefix(column, "-")); !ok {
			return &rpcFault{code: 1, text: "<class 'Exception'>: Invalid order: " + strings.TrimPrefix(column, "-")}
		}
	}
	slices.SortFunc(list, func(a, b *hubBuild) int {
		for _, column := range columns {
			name, down := strings.CutPrefix(column, "-")
			compare, _ := compareBy(name)
			if c := compare(a, b); c != 0 && down {
				return -c
			} else if c != 0 {
				return c
			}
		}
		return 0
	})
	return nil
}

func compareBy(column string) (func(a, b *hubBuild) int, bool) {
	switch column {
	case "build_id":
		return func(a, b *hubBuild) int { return cmp.Compare(a.ID, b.ID) }, true
	case "nvr":
		return func(a, b *hubBuild) int { return cmp.Compare(a.NVR, b.NVR) }, true
	case "completion_time", "completion_ts":
		return func(a, b *hubBuild) int { return a.completed().Compare(b.completed()) }, true
	}
	return nil, false
}

// cutPage is the part that queryOpts' offset and limit ask for.
func cutPage(list []*hubBuild, options object) []*hubBuild {
	if offset, ok := options.get("offset").(int64); ok {
		list = list[min(max(int(offset), 0), len(list)):]
	}
	if limit, ok := options.get("limit").(int64); ok {
		list = list[:min(max(int(limit), 0), len(list))]
	}
	return list
}

// row is an entry of listBuilds' answer: what getBuild tells, but for the id
// under that name and for the content generator.
func (r *hubBuild) row() object {
	return slices.DeleteFunc(r.info(), func(m member) bool {
		return m.name == "id" || m.name == "cg_id" || m.name == "cg_name"
	})
}

// DeleteBuild makes a build one that was deleted: the hub still knows it, and its
// files are gone. One that is not there stays so.
func (k *Koji) DeleteBuild(id int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.byID[id]; r != nil {
		r.State = StateDeleted
		delete(k.files, path.Clean(r.archivePath()))
	}
}
