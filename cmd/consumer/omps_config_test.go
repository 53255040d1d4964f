package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// TestFromOMPS compares all that is made of each file, and said of it, with the
// texts beside it, which -update writes. What nothing is to be set by hand of
// works once its secret files are written; whatever else is there does not.
func TestFromOMPS(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/omps/*.py")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			made, err := ConvertOMPS([]byte(mustRead(t, file)), OMPSOptions{Name: filepath.Base(file), Section: "ProdConfig", Target: "oci"})
			if err != nil {
				t.Fatal(err)
			}
			said, byHand := "", false
			for _, r := range made.Remarks {
				said += fmt.Sprintf("%d: %s\n", r.Line, r.Text)
				byHand = byHand || r.ByHand
			}
			if strings.Contains(said+string(made.YAML), "hunter2") {
				t.Errorf("a secret shows in\n%s%s", said, made.YAML)
			}
			if faults := faultsOf(made.YAML); (faults != nil) != byHand {
				t.Errorf("to be set by hand: %v, but faults are %v", byHand, faults)
			}
			base := strings.TrimSuffix(file, ".py")
			for golden, got := range map[string]string{base + ".yaml": string(made.YAML), base + ".txt": said} {
				if *update {
					writeGolden(t, golden, got)
				}
				if diff := cmp.Diff(mustRead(t, golden), got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", golden, diff)
				}
			}
		})
	}
}

// fromOMPS runs the command on a file and reads what it prints, with its
// secret files made.
func fromOMPS(t *testing.T, file string, flags ...string) Config {
	t.Helper()
	code, out, errs := command(t, append([]string{"config", "from-omps", file}, flags...)...)
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, errs)
	}
	files := map[string]string{"config.yaml": out}
	for _, org := range []string{"public-org", "private-org", "older-org"} {
		files["secrets/"+org+"-oauth-token"] = secretText
		files["secrets/"+org+"-app-registry-token"] = "basic " + secretText
	}
	path := filepath.Join(writeFiles(t, files), "config.yaml")
	if code, _, errs := command(t, "check", "-c", path); code != exitDone {
		t.Fatalf("check: exit %d: %s", code, errs)
	}
	config, err := LoadConfig(path, none)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// The example configuration of OMPS's README, its colon and its comma mended.
func TestFromOMPSExample(t *testing.T) {
	t.Parallel()
	c := fromOMPS(t, "testdata/omps/example.py")
	want := DefaultConfig()
	want.Koji.Timeout, want.Quay.Timeout = 28*time.Second, 28*time.Second
	want.Greenwave = &GreenwaveConfig{URL: "https://greenwave.example.com", Context: "omps_push", ProductVersion: "cvp", Timeout: 28 * time.Second}
	if diff := cmp.Diff(want.Koji, c.Koji) + cmp.Diff(want.Quay, c.Quay) + cmp.Diff(want.Greenwave, c.Greenwave) + cmp.Diff(want.Limits, c.Limits); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	orgs := c.PipelineOrganizations()
	if len(orgs) != 1 || orgs[0].Name != "public-org" || orgs[0].Target != pipeline.TargetOCI || !orgs[0].AcceptArchives || orgs[0].Wants("etcd-container") {
		t.Fatalf("organizations %+v", orgs)
	}
	var rules []string
	for _, r := range orgs[0].Rules {
		rules = append(rules, fmt.Sprintf("%s -> %s", r.Old, r.New))
	}
	if diff := cmp.Diff([]string{"quay.io -> example.com", "quay.io$ -> example.com"}, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if o := c.Organizations["public-org"]; !o.Public || o.OAuthToken.Secret.Reveal() != secretText || !o.ReplaceRegistry[1].Regexp || o.ReplaceRegistry[0].Regexp {
		t.Errorf("public-org is %+v", o)
	}
}

func TestFromOMPSToAppRegistry(t *testing.T) {
	t.Parallel()
	c := fromOMPS(t, "testdata/omps/everything.py", "--target", "app-registry")
	for _, org := range c.PipelineOrganizations() {
		if org.Target != pipeline.TargetAppRegistry {
			t.Errorf("%s: target %s", org.Name, org.Target)
		}
		if got := c.Organizations[org.Name].AppRegistryToken.Secret.Reveal(); got != "basic "+secretText {
			t.Errorf("%s: token %q", org.Name, got)
		}
	}
	if len(c.Organizations) != 3 || c.DefaultReleaseVersion != "2.0.0" || len(c.Warnings) != 0 {
		t.Errorf("%d organizations, first release %s, warnings %v", len(c.Organizations), c.DefaultReleaseVersion, c.Warnings)
	}
}

func TestFromOMPSCommand(t *testing.T) {
	t.Parallel()
	folder := writeFiles(t, map[string]string{
		"two.py":    "class A:\n    LOG_LEVEL = 'DEBUG'\nclass ProdConfig:\n    LOG_LEVEL = 'ERROR'\n",
		"none.py":   "A = 1\n",
		"broken.py": "class ProdConfig:\n    A = [1\n",
		"large.py":  strings.Repeat("#", maxOMPSBytes+1),
	})
	in := func(name string) string { return filepath.Join(folder, name) }
	for _, c := range []struct {
		args      []string
		section   string // of the environment
		code      int
		out, says string
	}{
		{[]string{in("two.py")}, "", exitDone, "level: error", ""},
		{[]string{in("two.py")}, "A", exitDone, "level: debug", ""},
		{[]string{in("two.py"), "--section", "ProdConfig"}, "A", exitDone, "level: error", ""},
		{[]string{in("two.py"), "--section", "B"}, "", exitFailed, "", "two.py: there is no class B, only: A, ProdConfig"},
		{[]string{in("none.py")}, "", exitFailed, "", "there is no class ProdConfig, only: none"},
		{[]string{in("broken.py")}, "", exitFailed, "", "broken.py:2: a bracket is never closed"},
		{[]string{in("large.py")}, "", exitFailed, "", "larger than 1MiB"},
		{[]string{in("absent.py")}, "", exitFailed, "", "no such file"},
		{[]string{in("two.py"), "--target", "helm"}, "", exitUsage, "", `not "helm"`},
		{nil, "", exitUsage, "", "accepts 1 arg"},
		{[]string{"testdata/omps/by-hand.py"}, "", exitFailed, "SET BY HAND", "warning: testdata/omps/by-hand.py:7: not a literal: set KOJIHUB_URL by hand\n"},
	} {
		var out, errs lockedBuffer
		code := run(t.Context(), append([]string{"config", "from-omps"}, c.args...), environment(map[string]string{ompsSectionVariable: c.section}), &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.says) || c.out == "" && out.String() != "" {
			t.Errorf("%v: exit %d, want %d: %s\n%s", c.args, code, c.code, out.String(), errs.String())
		}
	}
	if code, _, errs := command(t, "config"); code != exitUsage {
		t.Errorf("config alone: exit %d: %s", code, errs)
	}
}

// The largest file takes no time, whatever it holds.
func TestFromOMPSIsBounded(t *testing.T) {
	t.Parallel()
	size := maxOMPSBytes
	if testing.Short() {
		size /= 8
	}
	fill := func(begin, unit, end string) []byte {
		return []byte(begin + strings.Repeat(unit, (size-len(begin)-len(end))/len(unit)) + end)
	}
	start := time.Now()
	for name, data := range map[string][]byte{
		"brackets":   fill("class ProdConfig:\n A = ", "[", ""),
		"texts":      fill("class ProdConfig:\n A = (", `"" `, ")\n"),
		"numbers":    fill("class ProdConfig:\n A = 1", "*1", "\n"),
		"digits":     fill("class ProdConfig:\n A = 1", "1", "\n"),
		"escapes":    fill("class ProdConfig:\n A = '", `\n`, "'\n"),
		"operators":  fill("class ProdConfig:\n A = 1", "-", "\n"),
		"attributes": fill("class ProdConfig:\n", " A=1\n", ""),
		"classes":    fill("", "class ProdConfig: A=1\n", ""),
		"family":     fill("class ProdConfig: A=1\n", "class ProdConfig(ProdConfig): pass\n", ""),
		"strangers":  fill("", "class ProdConfig(X): pass\n", ""),
		"blocks":     fill("class ProdConfig:\n", " if a:\n", " A=1\n"),
		"lines":      fill("class ProdConfig:\n A=1\n", "\n", ""),
		"comments":   fill("class ProdConfig:\n A=1\n", "#\n", ""),
		"keys":       fill("class ProdConfig:\n ORGANIZATIONS = {", "'a':{},", "}\n"),
		"rules":      fill("class ProdConfig:\n ORGANIZATIONS = {'ab':{'replace_registry':[", "{},", "]}}\n"),
	} {
		_, err := ConvertOMPS(data, OMPSOptions{Name: "omps.py", Section: "ProdConfig", Target: "oci"})
		t.Logf("%s: %v, %v", name, time.Since(start).Round(time.Millisecond), err)
	}
	if took := time.Since(start); took > 3*patience { // under the race detector it is most of one
		t.Errorf("took %v", took)
	}
}

// What is made of a file is to be checked with that file's name beside it.
func TestFromOMPSWritesNothing(t *testing.T) {
	t.Parallel()
	folder := writeFiles(t, map[string]string{"config.py": mustRead(t, "testdata/omps/everything.py")})
	if code, _, errs := command(t, "config", "from-omps", filepath.Join(folder, "config.py")); code != exitDone {
		t.Fatalf("exit %d: %s", code, errs)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}
