package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The Containerfile says of the image what the command says, has the command
// make its files, and takes the Go of go.mod.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	var stage v1.Config // of the last FROM
	lines := instructions(t, "../Containerfile")
	for _, line := range lines {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "FROM":
			stage = v1.Config{ExposedPorts: map[string]struct{}{}, Labels: map[string]string{}}
		case "LABEL":
			for _, label := range regexp.MustCompile(`([^\s=]+)="([^"]*)"`).FindAllStringSubmatch(rest, -1) {
				stage.Labels[label[1]] = label[2]
			}
		case "ENV":
			stage.Env = append(stage.Env, rest)
		case "USER":
			stage.User = rest
		case "WORKDIR":
			stage.WorkingDir = rest
		case "EXPOSE":
			stage.ExposedPorts[rest] = struct{}{}
		case "ENTRYPOINT":
			stage.Entrypoint = words(t, rest)
		case "CMD":
			stage.Cmd = words(t, rest)
		}
	}
	want := containerConfig(labels(program{}))
	delete(want.Labels, annotation+"version") // nobody tells it to a Containerfile
	if diff := cmp.Diff(want, stage); diff != "" {
		t.Errorf("(-command +Containerfile):\n%s", diff)
	}
	for _, line := range []string{
		"ARG GO_IMAGE=docker.io/library/golang:" + goVersion(t),
		"FROM ${GO_IMAGE} AS build",
		"RUN make build && go run ./deploy/image -license LICENSE -root /image bin/consumer",
		"FROM scratch",
		"COPY --from=build /image/ /",
	} {
		if !slices.Contains(lines, line) {
			t.Errorf("the Containerfile lacks %s", line)
		}
	}
}

// What git ignores, an engine is not sent.
func TestContainerfileIgnores(t *testing.T) {
	t.Parallel()
	var want []string
	for _, line := range instructions(t, "../../.gitignore") {
		pattern := strings.TrimSuffix(line, "/")
		if !strings.Contains(pattern, "/") {
			pattern = "**/" + pattern // to git, it may lie anywhere
		}
		want = append(want, strings.TrimPrefix(pattern, "/"))
	}
	if diff := cmp.Diff(want, instructions(t, "../Containerfile.dockerignore")); diff != "" {
		t.Errorf("(-.gitignore +Containerfile.dockerignore):\n%s", diff)
	}
}

// instructions are those of a file such as the Containerfile, each on one line.
func instructions(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "\\\n", " ")
	return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return line == "" || strings.HasPrefix(line, "#") })
}

func words(t *testing.T, list string) []string {
	t.Helper()
	var words []string
	if err := json.Unmarshal([]byte(list), &words); err != nil {
		t.Errorf("%s is not the form without a shell: %v", list, err)
	}
	return words
}

// goVersion is the version of go.mod without its patch level.
func goVersion(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(data)
	if found == nil {
		t.Fatal("go.mod names no Go version")
	}
	return string(found[1])
}
