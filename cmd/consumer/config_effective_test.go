package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEffectiveIsTheSame: what Effective writes is read as the configuration it
// came from.
func TestEffectiveIsTheSame(t *testing.T) {
	t.Parallel()
	full := fullConfig(t)
	folder := filepath.Dir(filepath.Dir(full.NATS.TLS.KeyFile.Path))
	getenv := environment(map[string]string{"SECRETS": filepath.Join(folder, "mounted")})
	for name, c := range map[string]Config{
		"full":    full,
		"empty":   mustParse(t, filepath.Join(folder, "config.yaml"), "", getenv),
		"example": mustParse(t, filepath.Join(folder, "config.yaml"), mustRead(t, exampleConfig), getenv),
	} {
		text, err := c.Effective()
		if err != nil {
			t.Fatal(err)
		}
		again := mustParse(t, filepath.Join(folder, "config.yaml"), string(text), getenv)
		c.Warnings, again.Warnings = nil, nil
		if !reflect.DeepEqual(c, again) {
			t.Errorf("%s: read again it is\n%+v\nwant\n%+v", name, again, c)
		}
	}
}

func TestEffectiveText(t *testing.T) {
	t.Parallel()
	const golden = "testdata/config/good/full.effective.yaml"
	got, err := fullConfig(t).Effective()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		writeGolden(t, golden, string(got))
	}
	if diff := cmp.Diff(mustRead(t, golden), string(got)); diff != "" {
		t.Errorf("effective (-want +got):\n%s", diff)
	}
	text, err := DefaultConfig().Effective()
	if err != nil || !strings.Contains(string(text), "# greenwave is left out\nquay:\n") {
		t.Errorf("the default does not say that there is no gate (%v):\n%s", err, text)
	}
}

// FuzzParseConfig: every file is a configuration that can be written and read
// again, or has faults, each with a text.
func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, exampleConfig) {
		f.Add([]byte(mustRead(f, file)))
	}
	name := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(name, data, none)
		if err != nil {
			var bad *ConfigError
			if !errors.As(err, &bad) || len(bad.Faults) == 0 {
				t.Fatalf("error is %#v, want a *ConfigError with faults", err)
			}
			for _, fault := range bad.Faults {
				if fault.Text == "" || strings.ContainsAny(fault.String(), "\n\x1b") {
					t.Errorf("fault is %q", fault.String())
				}
			}
			return
		}
		text, err := c.Effective()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseConfig(name, text, none)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if text2, err := again.Effective(); err != nil || !bytes.Equal(text, text2) {
			t.Errorf("read again it is\n%s\nwant\n%s\n(%v)", text2, text, err)
		}
	})
}
