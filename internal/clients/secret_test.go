package clients

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const hushed = "hunter2-swordfish"

type holder struct {
	Password Secret
	Tokens   []Secret
	ByName   map[string]Secret
	Any      any
	Pointer  *Secret
}

func newHolder() holder {
	s := Secret(hushed)
	return holder{Password: s, Tokens: []Secret{s}, ByName: map[string]Secret{"a": s}, Any: s, Pointer: &s}
}

func TestSecretIsRedacted(t *testing.T) {
	t.Parallel()
	s := Secret(hushed)
	written := map[string]func() (string, error){
		"String":   func() (string, error) { return s.String(), nil },
		"GoString": func() (string, error) { return s.GoString(), nil },
		"text":     func() (string, error) { b, err := s.MarshalText(); return string(b), err },
		"json":     func() (string, error) { b, err := json.Marshal(newHolder()); return string(b), err },
		"yaml":     func() (string, error) { b, err := yaml.Marshal(newHolder()); return string(b), err },
		"xml":      func() (string, error) { b, err := xml.Marshal(s); return string(b), err },
		"error":    func() (string, error) { return errors.Join(fmt.Errorf("login with %v", s)).Error(), nil },
		"slog text": func() (string, error) {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("login", "password", s, "all", newHolder())
			return b.String(), nil
		},
		"slog json": func() (string, error) {
			var b bytes.Buffer
			slog.New(slog.NewJSONHandler(&b, nil)).Info("login", "password", s, "all", newHolder())
			return b.String(), nil
		},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%08.3f", "%!"} {
		written["fmt "+verb] = func() (string, error) {
			return fmt.Sprintf(verb, s, s) + fmt.Sprintf(verb, newHolder(), newHolder()), nil
		}
	}
	for name, write := range written {
		got, err := write()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(got, hushed) || strings.Contains(got, fmt.Sprintf("%x", hushed)) {
			t.Errorf("%s gives the secret away: %s", name, got)
		}
		if !strings.Contains(got, redacted) {
			t.Errorf("%s is %q, without %q", name, got, redacted)
		}
	}
}

func TestSecretReveal(t *testing.T) {
	t.Parallel()
	if got := Secret(hushed).Reveal(); got != hushed {
		t.Errorf("Reveal is %q", got)
	}
}
