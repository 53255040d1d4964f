package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told is a line for each edited file: where it is and what became of it.
func told(rel Release) []string {
	var lines []string
	for _, e := range rel.Edited {
		switch {
		case e.Before == nil:
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("made %s %s", e.Path, e.Bundle)))
		case strings.ReplaceAll(string(e.Before), "quay.io", "registry.example.com") == string(e.After):
			lines = append(lines, "rewritten "+e.Path)
		default:
			lines = append(lines, "edited "+e.Path)
		}
	}
	return lines
}

func TestEdited(t *testing.T) {
	bare, labels := bareContent(t)
	for _, tt := range []struct {
		name   string
		files  []File
		labels map[string]string
		suffix string
		target TargetKind
		want   []string
	}{
		{name: "a bundle has its files", files: folder(t, "testdata/prepare/bundle/in"), want: []string{
			"rewritten manifests/csv.yaml",
		}},
		{name: "bare content has its own paths", files: bare, labels: labels, want: []string{
			"rewritten csv.yaml", "made metadata/annotations.yaml",
		}},
		{name: "package manifests get annotations for each bundle", files: folder(t, "testdata/prepare/nested/in"), want: []string{
			"rewritten 1.0.0/csv.yaml", "rewritten 1.1.0/csv.yaml", "rewritten 1.2.0/csv.yaml",
			"made metadata/annotations.yaml 1.0.0", "made metadata/annotations.yaml 1.1.0", "made metadata/annotations.yaml 1.2.0",
		}},
		{name: "also beside one that is not published", files: append(folder(t, "testdata/prepare/flat-one/in"), File{"metadata/annotations.yaml", []byte("annotations: {}\n")}), want: []string{
			"rewritten csv.yaml", "made metadata/annotations.yaml 1.0.0+build.5",
		}},
		{name: "a release has no annotations", files: folder(t, "testdata/prepare/nested/in"), target: TargetAppRegistry, want: []string{
			"rewritten 1.0.0/csv.yaml", "rewritten 1.1.0/csv.yaml", "rewritten 1.2.0/csv.yaml",
		}},
		{name: "every edit counts", files: folder(t, "testdata/prepare/nested/in"), suffix: "-x", target: TargetAppRegistry, want: []string{
			"rewritten 1.0.0/csv.yaml", "rewritten 1.1.0/csv.yaml", "rewritten 1.2.0/csv.yaml", "edited gadgets.package.yaml",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			order := orderOf(t, tt.files)
			order.Manifests.Build.Labels = tt.labels
			order.Organization.PackageNameSuffix = tt.suffix
			if tt.target != "" {
				order.Organization.Target = tt.target
			}
			rel, err := Prepare{Edits: true}.Do(t.Context(), order)
			if err != nil {
				t.Fatalf("%v: %v", err, FaultsOf(err))
			}
			if diff := cmp.Diff(tt.want, told(rel)); diff != "" {
				t.Error(diff)
			}
			if rel, err = (Prepare{}).Do(t.Context(), order); err != nil || len(rel.Edited) > 0 {
				t.Errorf("unasked: %v, %v", told(rel), err)
			}
		})
	}
}

// What is refused still tells what had been edited.
func TestEditedOfWhatIsRejected(t *testing.T) {
	files := folder(t, "testdata/prepare/bundle/in")
	order := orderOf(t, files)
	order.Organization.AllowedRegistries = []string{"registry.example.net"}
	rel, err := Prepare{Edits: true}.Do(t.Context(), order)
	if ReasonOf(err) != ReasonForbiddenRegistry {
		t.Fatalf("%v", err)
	}
	if diff := cmp.Diff([]string{"rewritten manifests/csv.yaml"}, told(rel)); diff != "" {
		t.Error(diff)
	}
}
