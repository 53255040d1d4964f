//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

// benchOrganization is the one that the measured service publishes for: builds
// whose package begins with its name.
const benchOrganization = "bench"

// sizeOf says what the archives of a kind of build hold.
type sizeOf struct {
	versions int
	crd      int // bytes of each version's CustomResourceDefinition
}

// The archives: as zip files 20 KiB, 5 KiB and 1 MiB.
var (
	smallArchive = sizeOf{versions: 1, crd: 98 << 10}
	tinyArchive  = sizeOf{versions: 1, crd: 13 << 10}
	largeArchive = sizeOf{versions: 30, crd: 165 << 10}
)

// benchBuilds are builds of as many packages, so that no two push to one
// repository, each as large as the others.
func benchBuilds(t *testing.T, kind string, n int, size sizeOf) []sandbox.Build {
	t.Helper()
	builds := make([]sandbox.Build, n)
	for i := range builds {
		pkg := fmt.Sprintf("%s-%s-%04d", benchOrganization, kind, i)
		archive, err := sandbox.Zip(benchPackage(pkg, size))
		if err != nil {
			t.Fatal(err)
		}
		builds[i] = sandbox.Build{NVR: pkg + "-container-1.0-1", Archive: archive, Subtypes: []string{"operator_appregistry"}}
	}
	return builds
}

// benchPackage is package manifests whose versions each replace the one before.
func benchPackage(name string, size sizeOf) []pipeline.File {
	var files []pipeline.File
	schema := benchSchema(size.crd)
	for i := range size.versions {
		version := fmt.Sprintf("1.0.%d", i)
		for _, f := range sandbox.SampleOf(name, version) {
			text := string(f.Data)
			switch {
			case !strings.Contains(f.Path, "/"): // the package file, of the newest version alone
				if i < size.versions-1 {
					continue
				}
			case strings.Contains(f.Path, "crd"):
				text = strings.Replace(text, "            properties:\n", "            properties:\n"+schema, 1)
			case i > 0:
				text = strings.Replace(text, "  maturity: alpha\n",
					fmt.Sprintf("  maturity: alpha\n  replaces: %s.v1.0.%d\n", name, i-1), 1)
			}
			files = append(files, pipeline.File{Path: f.Path, Data: []byte(text)})
		}
	}
	return files
}

// benchSchema is properties of a schema, about so many bytes of them, that pack
// about as well as real ones.
func benchSchema(size int) string {
	words := strings.Fields(`the name of a secret that holds pod which is set when each container starts with its volume
		selector must match labels field value default zero unless probe failure seconds after initial delay kubernetes cannot
		be updated more info at resource requirements memory cpu limit request namespace reference optional list may only one`)
	rng := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < size {
		text := make([]string, 4+rng.IntN(14))
		for j := range text {
			text[j] = words[rng.IntN(len(words))]
		}
		name := words[rng.IntN(len(words))] + strconv.FormatUint(rng.Uint64N(1e6), 36)
		fmt.Fprintf(&b, "              %s:\n                description: %s\n                type: string\n", name, strings.Join(text, " "))
	}
	return b.String()
}

// corpusBuilds are builds of real archives, when they lie beside the checkout.
func corpusBuilds(t *testing.T, n int) []sandbox.Build {
	t.Helper()
	var files []string
	for _, kind := range []string{"packagemanifest-*", "bundle"} {
		found, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "corpus", "good", kind, "*.zip"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	var builds []sandbox.Build
	for i := range min(n, len(files)) {
		archive, err := os.ReadFile(files[i*len(files)/n])
		if err != nil {
			t.Fatal(err)
		}
		builds = append(builds, sandbox.Build{
			NVR: fmt.Sprintf("%s-corpus-%04d-container-1.0-1", benchOrganization, i), Archive: archive,
			Subtypes: []string{"operator_appregistry"},
		})
	}
	return builds
}

// benchRequest asks for a build to be pushed, beside the announcements.
func benchRequest(nvr string) message {
	id := "request-" + nvr
	return message{subject: "omps.request.push." + benchOrganization, id: id, data: fmt.Sprintf(
		`{"specversion":"1.0","id":%q,"source":"https://releases.example.com/","type":%q,"data":{"nvr":%q}}`,
		id, events.TypePushRequested, nvr)}
}

// foreignEventBytes is what an event has that is not ours.
const foreignEventBytes = 1536

// foreignEvents are what Koji's message plugin says of builds that are not
// ours: one of no package of ours, and one of ours that holds no manifests.
func foreignEvents(t *testing.T) []message {
	t.Helper()
	var list []message
	for i, name := range []string{"kernel", benchOrganization + "-app-container"} {
		list = append(list, foreignEvent(t, fmt.Sprintf("foreign-%d", i), name))
	}
	return list
}

func foreignEvent(t *testing.T, id, name string) message {
	t.Helper()
	info := map[string]any{
		"build_id": 1873406, "id": 1873406, "cg_id": nil, "name": name, "version": "6.12.0", "release": "55.el10",
		"nvr": name + "-6.12.0-55.el10", "epoch": nil, "draft": false, "state": 1, "task_id": 45911238,
		"owner_id": 3, "owner_name": "jdoe", "package_id": 78115, "package_name": name,
		"creation_event_id": 44512105, "creation_time": "2026-11-22 07:26:07.506563+00:00", "creation_ts": 1795332367.506563,
		"completion_time": "2026-11-22 07:26:07.524095+00:00", "completion_ts": 1795332367.524095,
		"start_time": "2026-11-22 07:26:07.504165+00:00", "start_ts": 1795332367.504165,
		"promoter_id": nil, "promotion_time": nil, "volume_id": 0, "volume_name": "DEFAULT",
		"source": "git+https://pkgs.example.com/rpms/" + name + "#1f5fb0ba642af25090e3ae7776eb8c0577d9fe8e",
		"extra": map[string]any{
			"source": map[string]any{"original_url": "git+https://pkgs.example.com/rpms/" + name},
			"image":  map[string]any{"parent_images": []string{"registry.example.com/ubi8/ubi:8.0-122"}, "help": ""},
		},
	}
	event := map[string]any{
		"specversion": "1.0", "id": id, "source": "https://koji.example.com/kojihub",
		"type": events.TypeBuildCompleted, "subject": info["nvr"], "datacontenttype": "application/json",
		"data": map[string]any{"attribute": "state", "old": 0, "new": 1, "info": info, "btypes": map[string]any{}},
	}
	data, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	info["extra"].(map[string]any)["image"].(map[string]any)["help"] = strings.Repeat("h", foreignEventBytes-len(data))
	if data, err = json.Marshal(event); err != nil {
		t.Fatal(err)
	}
	return message{subject: events.SubjectBuildCompleted, data: string(data)}
}
