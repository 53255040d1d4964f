package events

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// Data that its schema allows names a build, whatever else is wrong with it.
func TestAllowedDataNamesABuild(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	allowed := 0
	check := func(eventType, data string) {
		if r.Schemas.Validate(eventType, []byte(data)) != nil {
			return
		}
		allowed++
		a, err := readAnnouncement(recordOf(raw(data)), eventType == TypeBuildPromoted)
		if err == nil && !a.names() {
			t.Errorf("%s names no build: %s", eventType, data)
		}
	}
	names := []string{
		``, `"state":1`, `"nvr":"a-1-1"`, `"nvr":null`, `"nvr":""`, `"build_id":7`, `"build_id":null`, `"name":"x"`, `"id":7`, `"id":null`,
		`"name":"x","version":"1","release":"1"`, `"name":"x","version":"","release":"1"`, `"name":"x","version":null,"release":"1"`,
	}
	var inner []string
	for _, name := range names {
		inner = append(inner, `{`+name+`}`)
	}
	for _, value := range append(slices.Clone(inner), "null") {
		for _, member := range []string{"info", "build"} {
			for _, name := range names {
				inner = append(inner, strings.Replace(`{`+name+`,"`+member+`":`+value+`}`, "{,", "{", 1))
			}
		}
	}
	for _, eventType := range []string{TypeBuildCompleted, TypeBuildPromoted} {
		for _, value := range append(inner, "null") {
			check(eventType, value)
			for _, member := range []string{"body", "msg"} {
				for _, name := range names {
					check(eventType, strings.Replace(`{`+name+`,"`+member+`":`+value+`}`, "{,", "{", 1))
				}
			}
		}
	}
	if allowed < 1000 {
		t.Errorf("only %d were allowed", allowed)
	}
}

// Every captured message of a bus, as body and as a whole, either is a trigger
// for the build it is about or is not ours.
func TestCaptures(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "captures", "*.json"))
	if len(files) == 0 {
		t.Skip("no captures beside the checkout")
	}
	triggers := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body := gjson.GetBytes(data, "body")
		if !body.IsObject() {
			continue // the wire capture and the schema
		}
		eventType, state, ours := TypeBuildCompleted, body.Get("new").Int(), body.Get("attribute").Exists()
		if strings.Contains(file, "promote") {
			eventType, state, ours = TypeBuildPromoted, 1, true
		}
		if !ours {
			continue // a tag
		}
		extra := body.Get("info.extra")
		if body.Get("build").Exists() {
			extra = body.Get("build.extra")
		}
		manifests := !extra.Exists() || extra.Get("typeinfo.operator-manifests").Exists() || extra.Get("operator_manifests_archive").Exists()
		for _, form := range []string{body.Raw, string(data), fmt.Sprintf(`{"msg":%s}`, body.Raw)} {
			got, err := r.Trigger("koji.build.completed", newTestEvent(eventType, []byte(form)))
			if err := r.Schemas.Validate(eventType, []byte(form)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if state != 1 || !manifests {
				if pipeline.ClassOf(err) != pipeline.Ignored {
					t.Errorf("%s: %v", file, err)
				}
				continue
			}
			triggers++
			if err != nil || got.NVR.IsZero() || got.BuildID < 1873402 || !got.SaysComplete {
				t.Errorf("%s: %+v %v", file, got, err)
			}
		}
	}
	if triggers < 12 {
		t.Errorf("only %d triggers", triggers)
	}
}
