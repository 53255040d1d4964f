package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

var update = flag.Bool("update", false, "write the expected files of golden tests anew")

const exampleConfig = "../../deploy/config.example.yaml"

// none is an environment without variables.
func none(string) string { return "" }

// environment is an environment of the given variables.
func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// mustParse parses a configuration that has no faults.
func mustParse(t *testing.T, name, data string, getenv func(string) string) Config {
	t.Helper()
	c, err := ParseConfig(name, []byte(data), getenv)
	if err != nil {
		t.Fatalf("ParseConfig: %v", err)
	}
	return c
}

func mustRead(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func writeGolden(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestBadConfigs compares all that is said of each bad file with the text
// beside it, which -update writes.
func TestBadConfigs(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/config/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			getenv := environment(map[string]string{"SECRETS": "/no/such/hunter2"})
			_, err := ParseConfig(filepath.Base(file), []byte(mustRead(t, file)), getenv)
			var bad *ConfigError
			if !errors.As(err, &bad) {
				t.Fatalf("error is %v, want a *ConfigError", err)
			}
			got := bad.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret shows in\n%s", got)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				writeGolden(t, golden, got)
			}
			if diff := cmp.Diff(mustRead(t, golden), got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	_, err := ParseConfig("config.yaml", []byte(strings.Repeat("? [a]\n", 10_000)), none)
	var bad *ConfigError
	if !errors.As(err, &bad) {
		t.Fatalf("error is %v, want a *ConfigError", err)
	}
	if len(bad.Faults) != maxFaults+1 {
		t.Errorf("%d faults, want %d and one that says there are more", len(bad.Faults), maxFaults)
	}
}

// TestAliases: an alias is read like what it names, and a file that grows by
// aliases comes to an end.
func TestAliases(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "config.yaml", "organizations:\n  one: &o {match: [&m etcd]}\n  two: *o\n  three: {match: [*m]}\n", none)
	for _, org := range c.PipelineOrganizations() {
		if !org.Wants("etcd") || org.Wants("nginx") {
			t.Errorf("organization %s matches %v", org.Name, org.Match)
		}
	}

	loop := "organizations: &o\n  any: *o\n"
	if _, err := ParseConfig("config.yaml", []byte(loop), none); err == nil {
		t.Error("loop: no fault")
	}
}

// What an alias stands for counts each time, so that little text is not much work.
func TestAliasesAreBounded(t *testing.T) {
	t.Parallel()
	// Every organization is 1,000 values: its name, the key match and the list's.
	bomb := func(left int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "organizations:\n  own: {match: [%sa]}\n  one: &o {match: [%sa]}\n",
			strings.Repeat("a,", 997-left), strings.Repeat("a,", 997))
		for i := range maxConfigValues/1000 - 2 {
			fmt.Fprintf(&b, "  other%d: *o\n", i)
		}
		return b.String()
	}
	const most = 1 // left out for the key organizations
	if _, err := ParseConfig("config.yaml", []byte(bomb(most)), none); err != nil {
		t.Errorf("as many values as there may be: %.300v", err)
	}
	want := fmt.Sprintf("config.yaml: has more than %d values", maxConfigValues)
	if _, err := ParseConfig("config.yaml", []byte(bomb(most-1)), none); err == nil || err.Error() != want {
		t.Errorf("one more: %.300v, want %s", err, want)
	}
	keys := strings.ReplaceAll(bomb(most-1), "a,", "? a\n, ")
	if _, err := ParseConfig("config.yaml", []byte(keys), none); err == nil {
		t.Error("keys: no fault")
	}
}

func TestEmptyConfigIsDefault(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "{}", "~"} {
		c := mustParse(t, "config.yaml", text, none)
		c.Warnings = nil
		if !reflect.DeepEqual(c, DefaultConfig()) {
			t.Errorf("%q is %+v", text, c)
		}
	}
}

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	large := filepath.Join(folder, "large.yaml")
	if err := os.WriteFile(large, []byte(strings.Repeat("#", maxConfigBytes+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(folder, "absent.yaml")
	for path, want := range map[string]string{
		absent: absent + ": cannot be read: no such file or directory",
		folder: folder + ": cannot be read: is a directory",
		large:  large + ": cannot be read: larger than 8MiB",
	} {
		_, err := LoadConfig(path, none)
		var bad *ConfigError
		if !errors.As(err, &bad) || err.Error() != want {
			t.Errorf("LoadConfig(%s) says %v, want %s", path, err, want)
		}
	}
	if _, err := ParseConfig("c.yaml", make([]byte, maxConfigBytes+1), none); err == nil || err.Error() != "c.yaml: cannot be read: larger than 8MiB" {
		t.Errorf("ParseConfig of a file that is too large says %v", err)
	}
	largest := filepath.Join(folder, "largest.yaml")
	if err := os.WriteFile(largest, []byte(strings.Repeat("#", maxConfigBytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(largest, none)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.NATS.Embedded.StoreDir.Path, filepath.Join(folder, "data"); got != want {
		t.Errorf("store_dir is %s, want %s beside the file", got, want)
	}
}

// testPlainWarnings wants a warning of each way in which a password would cross a
// network in clear, and of nothing else.
func testPlainWarnings(t *testing.T) {
	t.Helper()
	const (
		organization = "\norganizations: {myorg: {push_username: u, push_password_file: secret}}\n"
		quayWarning  = ":1: quay.plain_http: sends passwords and tokens in clear to another machine"
		natsWarning  = ":1: nats.url: sends the password in clear to a server that does not ask for TLS: tls:// insists on it"
		spanWarning  = ":1: tracing.otlp_url: sends what authorization_file holds in clear to another machine"
	)
	authority, _ := keyPair(t)
	folder := writeFiles(t, map[string]string{"secret": "s", "ca.crt": authority})
	for text, want := range map[string]string{
		"quay: {registry: registry.example.com, plain_http: true}":                              quayWarning,
		`quay: {registry: "localhost:5000", url: "http://10.0.0.1", plain_http: true}`:          quayWarning,
		`quay: {registry: "127.0.0.1:5000", url: "http://[::1]:80", plain_http: true}`:          "",
		`quay: {registry: "127.0.0.1:5000", url: "http://127.0.0.1:80"}`:                        "",
		`nats: {url: "tls://a.example.com,nats://b", user: u, password_file: secret}`:           natsWarning,
		`nats: {url: "tls://a.example.com, ws://b.example", user: u, password_file: secret}`:    natsWarning,
		`nats: {url: "tls://a.example.com,nats://127.0.0.1:1", user: u, password_file: secret}`: "",
		`nats: {url: "wss://a.example.com", user: u, password_file: secret}`:                    "",
		`nats: {url: "nats://a.example.com"}`:                                                   "",

		`nats: {url: "nats://a.example.com", user: u, password_file: secret, tls: {ca_file: ca.crt}}`: "",
		`nats: {url: "ws://a.example.com", user: u, password_file: secret, tls: {ca_file: ca.crt}}`:   "",

		`tracing: {otlp_url: "http://otel.example.com:4318", authorization_file: secret}`:  spanWarning,
		`tracing: {otlp_url: "https://otel.example.com:4318", authorization_file: secret}`: "",
		`tracing: {otlp_url: "http://localhost:4318", authorization_file: secret}`:         "",
		`tracing: {otlp_url: "http://otel.example.com:4318"}`:                              "",
	} {
		name := filepath.Join(folder, "c.yaml")
		var got []string
		for _, w := range mustParse(t, name, text+organization, func(string) string { return "" }).Warnings {
			got = append(got, strings.TrimPrefix(w, name))
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: warnings %q, want %q", text, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	text := `nats: {embedded: {listen: "0.0.0.0:4222"}}
intake: {max_age: 1m}
organizations:
  myorg: {public: true}
  other:
    target: app-registry
    tags: [latest]
    allowed_registries: [quay.io]
`
	want := []string{
		"c.yaml:1: nats.embedded.listen: other machines can reach this server, which asks nobody who they are",
		"c.yaml:2: intake.recheck: is not below max_age, so a build that waits is never looked at again by itself",
		"c.yaml:4: organizations.myorg.public: needs oauth_token_file, without which new repositories stay private",
		"c.yaml:4: organizations.myorg.push_username: is empty: images are pushed without a login",
		"c.yaml:5: organizations.other.app_registry_token_file: is empty, and so is push_username: releases are pushed without a login",
		"c.yaml:7: organizations.other.tags: have no use with target app-registry: a release has a version instead",
	}
	if diff := cmp.Diff(want, mustParse(t, "c.yaml", text, none).Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	testPlainWarnings(t)
	folder := writeFiles(t, map[string]string{"secret": "s", "token": "basic s"})
	text = `intake: {build_timeout: 29s}
greenwave: {url: https://greenwave.example.com, timeout: 29s}
organizations:
  myorg: {push_username: u, push_password_file: secret, app_registry_token_file: token}
  other: {target: app-registry, push_username: u, push_password_file: secret, app_registry_token_file: token}
  third: {target: app-registry, app_registry_token_file: token}
  fourth: {target: app-registry, push_username: u, push_password_file: secret}
`
	want = []string{
		":1: intake.build_timeout: is less than koji.timeout, which is 30s: a call that takes so long is cut off",
		":1: intake.build_timeout: is less than quay.timeout, which is 1m: a call that takes so long is cut off",
		":4: organizations.myorg.app_registry_token_file: has no use with target oci",
		":5: organizations.other.push_username: has no use beside app_registry_token_file",
	}
	name := filepath.Join(folder, "c.yaml")
	var got []string
	for _, w := range mustParse(t, name, text, none).Warnings {
		got = append(got, strings.TrimPrefix(w, name))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	want = []string{"c.yaml: organizations: none is configured, so nothing will be published"}
	if diff := cmp.Diff(want, mustParse(t, "c.yaml", "", none).Warnings); diff != "" {
		t.Errorf("warnings of an empty file (-want +got):\n%s", diff)
	}
}

func TestPipelineOrganizations(t *testing.T) {
	t.Parallel()
	c := mustParse(t, "c.yaml", `organizations:
  zeta: {match: []}
  alpha:
    match: ["etcd-*"]
    repository: ops-{package}
    tags: ["{nvr}"]
    replace_registry: [{old: quay.io, new: a.example.com}, {old: "b$", new: c, regexp: true}]
    allowed_registries: [a.example.com]
    accept_archives: true
    target: app-registry
    package_name_suffix: -x
    csv_annotations: [{name: a, value: "{package_name}"}]
`, none)
	orgs := c.PipelineOrganizations()
	if len(orgs) != 2 || orgs[0].Name != "alpha" || orgs[1].Name != "zeta" {
		t.Fatalf("organizations are %+v, want alpha and zeta", orgs)
	}
	rule1, err1 := pipeline.NewRule("quay.io", "a.example.com", false)
	rule2, err2 := pipeline.NewRule("b$", "c", true)
	annotation, err3 := pipeline.NewAnnotation("a", "{package_name}")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if orgs[0].Fingerprint == orgs[1].Fingerprint || len(orgs[0].Fingerprint) != 16 {
		t.Errorf("fingerprints %q and %q", orgs[0].Fingerprint, orgs[1].Fingerprint)
	}
	want := pipeline.Organization{
		Fingerprint: orgs[0].Fingerprint,
		Name:        "alpha", Match: []string{"etcd-*"}, Target: pipeline.TargetAppRegistry, AcceptArchives: true,
		Repository: "ops-{package}", Tags: []string{"{nvr}"}, PackageNameSuffix: "-x",
		Rules: []pipeline.Rule{rule1, rule2}, Annotations: []pipeline.Annotation{annotation},
		AllowedRegistries: []string{"a.example.com"}, BundleDefaults: pipeline.BundleDefaults{Channels: []string{}},
	}
	if !reflect.DeepEqual(orgs[0], want) {
		t.Errorf("alpha is %+v, want %+v", orgs[0], want)
	}
	if orgs[1].Wants("etcd-operator") || orgs[1].Repository != "{package}" || orgs[1].Target != pipeline.TargetOCI || orgs[1].AcceptArchives {
		t.Errorf("zeta is %+v, want no match and the default repository", orgs[1])
	}
}

func TestPipelineLimits(t *testing.T) {
	t.Parallel()
	if got := DefaultConfig().PipelineLimits(); got != pipeline.DefaultLimits() {
		t.Errorf("default limits are %+v", got)
	}
	c := mustParse(t, "c.yaml",
		"limits: {archive_bytes: 1, unpacked_bytes: 2, file_bytes: 3, files: 4, depth: 5, name_bytes: 6}", none)
	want := pipeline.Limits{ArchiveBytes: 1, UnpackedBytes: 2, FileBytes: 3, Files: 4, Depth: 5, NameBytes: 6}
	if got := c.PipelineLimits(); got != want {
		t.Errorf("limits are %+v, want %+v", got, want)
	}
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]ByteSize{
		"0": 0, "1": 1, "1023B": 1023, "1KB": 1000, "1KiB": 1024, "10MB": 10_000_000,
		"20MiB": 20 << 20, "3GB": 3_000_000_000, "1GiB": 1 << 30, "1500000": 1_500_000,
		"9223372036854775807": 1<<63 - 1, "8589934591GiB": (1<<33 - 1) << 30,
	} {
		got, err := ParseByteSize(text)
		if err != nil || got != want {
			t.Errorf("ParseByteSize(%q) is %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseByteSize(got.String()); err != nil || again != got {
			t.Errorf("%d is written %q and read %d, %v", got, got.String(), again, err)
		}
	}
	for _, text := range []string{
		"", "MiB", "-1", "+1", "1.5MiB", "1 MiB", "1mib", "1kB", "1K", "1TiB", "0x10", "1_000",
		"9223372036854775808", "8589934592GiB", "99999999999999999999",
	} {
		if got, err := ParseByteSize(text); err == nil {
			t.Errorf("ParseByteSize(%q) is %d, want an error", text, got)
		}
	}
	for size, want := range map[ByteSize]string{
		0: "0", 1000: "1KB", 1024: "1KiB", 10_000_000: "10MB", 256 << 20: "256MiB", 1<<20 + 1: "1048577",
	} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(size), got, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"24h": 24 * time.Hour, "1h30m": 90 * time.Minute, "10m": 10 * time.Minute, "1m10s": 70 * time.Second,
		"30s": 30 * time.Second, "1h0m1s": time.Hour + time.Second, "500ms": 500 * time.Millisecond, "20h": 20 * time.Hour, "0s": 0,
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestKeyHint(t *testing.T) {
	t.Parallel()
	known := []string{"repository", "replace_registry", "tags", "push_password_file"}
	for key, want := range map[string]string{
		"repositry":     "did you mean repository?",
		"repositroy":    "did you mean repository?",
		"tag":           "did you mean tags?",
		"Tags":          "did you mean tags?",
		"push_password": "its content is read from a file, use push_password_file",
		"zzz":           "known here are repository, replace_registry, tags, push_password_file",
	} {
		if got := keyHint(key, known); got != want {
			t.Errorf("keyHint(%q) is %q, want %q", key, got, want)
		}
	}
}

// Whatever changes what is published, or where, makes another fingerprint; what
// does not keeps it.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	fingerprint := func(quay, organization string, more ...string) string {
		text := fmt.Sprintf("quay: {%s}\norganizations: {myorg: {%s}}\n%s", quay, organization, strings.Join(more, "\n"))
		c := mustParse(t, "config.yaml", text, environment(nil))
		return c.PipelineOrganizations()[0].Fingerprint
	}
	base := fingerprint("", "")
	for _, same := range []string{
		fingerprint("timeout: 5s", ""), fingerprint("", "match: [a]"), fingerprint("", `repository: "{package}"`),
		fingerprint("", "accept_archives: true"), fingerprint("url: https://q.example.com", ""),
		fingerprint("", "", "default_release_version: 2.0.0"),
	} {
		if same != base {
			t.Errorf("changed to %s from %s", same, base)
		}
	}
	seen := map[string]bool{base: true}
	for _, other := range []string{
		fingerprint("registry: quay.example.com", ""), fingerprint("", `repository: "x-{package}"`), fingerprint("", `tags: ["{nvr}"]`),
		fingerprint("", "public: true"), fingerprint("", "allowed_registries: [quay.io]"),
		fingerprint("", "replace_registry: [{old: a, new: b}]"), fingerprint("", "replace_registry: [{old: a, new: b, regexp: true}]"),
		fingerprint("", "replace_registry: [{old: a, new: c}]"), fingerprint("", "package_name_suffix: -a"), fingerprint("", "package_name_suffix: -b"),
		fingerprint("", "csv_annotations: [{name: a, value: b}]"), fingerprint("", "csv_annotations: [{name: a, value: c}]"),
		fingerprint("", "target: app-registry"), fingerprint("url: https://q.example.com", "target: app-registry"),
	} {
		if seen[other] {
			t.Errorf("%s is not another fingerprint", other)
		}
		seen[other] = true
	}
	const appRegistry = "target: app-registry"
	base = fingerprint("", appRegistry)
	for _, same := range []string{fingerprint("registry: quay.example.com", appRegistry), fingerprint("", appRegistry+", tags: [latest]")} {
		if same != base {
			t.Errorf("app registry: changed to %s from %s", same, base)
		}
	}
	if other := fingerprint("", appRegistry, "default_release_version: 2.0.0"); other == base {
		t.Error("app registry: the first release does not change the fingerprint")
	}
}
