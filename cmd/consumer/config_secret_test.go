package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const secretText = "hunter2-correct-horse"

// writeFiles puts files into a new folder, readable by their owner alone.
func writeFiles(t *testing.T, files map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for name, content := range files {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// fullConfig reads the configuration that sets every key, with its files.
func fullConfig(t *testing.T) Config {
	t.Helper()
	cert, key := keyPair(t)
	folder := writeFiles(t, map[string]string{
		"config.yaml":  mustRead(t, "testdata/config/good/full.yaml"),
		"mounted/nats": secretText + "1\n", "mounted/oauth": secretText + "2\r\n", "mounted/cnr": "basic " + secretText + "4", "secrets/push": secretText + "3", "mounted/otlp": "Bearer " + secretText + "5",
		"secrets/ca.pem": cert, "secrets/key.pem": key,
	})
	getenv := environment(map[string]string{"SECRETS": filepath.Join(folder, "mounted")})
	c, err := LoadConfig(filepath.Join(folder, "config.yaml"), getenv)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	return c
}

func TestSecretsAreRead(t *testing.T) {
	t.Parallel()
	c := fullConfig(t)
	org := c.Organizations["first"]
	for i, file := range []SecretFile{c.NATS.Password, org.OAuthToken, org.PushPassword} {
		if got, want := file.Secret.Reveal(), fmt.Sprint(secretText, i+1); got != want {
			t.Errorf("%s holds %q, want %q", file.Written, got, want)
		}
	}
	if got, want := c.Organizations["second.org"].AppRegistryToken.Secret.Reveal(), "basic "+secretText+"4"; got != want {
		t.Errorf("app_registry_token_file holds %q, want %q", got, want)
	}
	folder := filepath.Dir(c.NATS.TLS.KeyFile.Path)
	if got, want := org.PushPassword.Path, filepath.Join(folder, "push"); got != want {
		t.Errorf("push_password_file is %s, want %s", got, want)
	}
	if got := c.NATS.Embedded.StoreDir.Path; got != "/var/lib/omps" {
		t.Errorf("store_dir is %s", got)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	t.Parallel()
	c := fullConfig(t)
	effective, err := c.Effective()
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string]string{
		"effective": string(effective), "json": string(asJSON),
		"%v": fmt.Sprintf("%v", c), "%+v": fmt.Sprintf("%+v", c), "%#v": fmt.Sprintf("%#v", c),
	} {
		if strings.Contains(text, secretText) {
			t.Errorf("%s shows a secret:\n%s", form, text)
		}
	}
	if got := strings.Count(string(effective), "# [redacted]"); got != 7 {
		t.Errorf("%d secrets are marked, want 7:\n%s", got, effective)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	folder := writeFiles(t, map[string]string{
		"empty": "", "newline": "\n", "lines": secretText + "\nmore\n", "nul": secretText + "\x00",
		"large": strings.Repeat("x", maxSecretBytes+1), "largest": strings.Repeat("x", maxSecretBytes),
		"blank": secretText + " \n",
	})
	for file, want := range map[string]string{
		"empty":       folder + "/empty is empty",
		"newline":     folder + "/newline is empty",
		"lines":       folder + "/lines holds more than one line or a control character",
		"nul":         folder + "/nul holds more than one line or a control character",
		"large":       "cannot read " + folder + "/large: larger than 64KiB",
		"absent":      "cannot read " + folder + "/absent: no such file or directory",
		".":           "cannot read " + folder + ": not a regular file",
		"${D}/absent": "cannot read ${D}/absent: no such file or directory",
		"${D}/empty":  "${D}/empty is empty",
		"/dev/zero":   "cannot read /dev/zero: not a regular file",
		"largest":     "",
		"blank":       "",
	} {
		text := "organizations:\n  myorg:\n    oauth_token_file: " + file + "\n"
		_, err := ParseConfig(filepath.Join(folder, "c.yaml"), []byte(text), environment(map[string]string{"D": folder}))
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), folder+"/c.yaml:3: organizations.myorg.oauth_token_file: ")
		}
		if got != want {
			t.Errorf("%s: fault is %q, want %q", file, got, want)
		}
	}
}

func TestSecretFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root can read every file")
	}
	folder := writeFiles(t, map[string]string{"secret": secretText})
	if err := os.Chmod(filepath.Join(folder, "secret"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := ParseConfig(filepath.Join(folder, "c.yaml"), []byte("organizations: {o1: {oauth_token_file: secret}}"), none)
	if err == nil || !strings.HasSuffix(err.Error(), "secret: permission denied") {
		t.Errorf("error is %v", err)
	}
}

func TestOpenSecretFileWarns(t *testing.T) {
	t.Parallel()
	cert, key := keyPair(t)
	folder := writeFiles(t, map[string]string{"secret": secretText, "secret2": secretText, "creds": "x", "key": key, "cert": cert})
	for _, name := range []string{"secret", "creds", "key", "cert"} {
		if err := os.Chmod(filepath.Join(folder, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := mustParse(t, filepath.Join(folder, "c.yaml"), `nats:
  url: nats://nats.example.com
  credentials_file: creds
  tls: {cert_file: cert, key_file: key}
organizations:
  o1: {oauth_token_file: secret, push_username: o1+robot, push_password_file: secret2}
  o2: {target: app-registry, app_registry_token_file: secret}
`, none)
	open := func(line, path, name string) string {
		return fmt.Sprintf("%s/c.yaml:%s: %s: %s/%s can be read by every user of this machine", folder, line, path, folder, name)
	}
	want := []string{
		open("3", "nats.credentials_file", "creds"),
		open("4", "nats.tls.key_file", "key"),
		open("6", "organizations.o1.oauth_token_file", "secret"),
		open("7", "organizations.o2.app_registry_token_file", "secret"),
		folder + "/c.yaml:7: organizations.o2.app_registry_token_file: " + folder + "/secret holds no scheme, such as basic and a blank, before the token: it is sent as it is",
	}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
