package clients

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands wherever a Secret is written.
const redacted = "[redacted]"

// Secret is a password or a token. Printed, logged or encoded it reads
// "[redacted]"; only Reveal gives it away. Two things are out of its reach: an
// unexported field when fmt prints the whole struct (keep it behind a pointer
// there) and the key of a map in JSON.
type Secret string

// Reveal is the secret itself, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }

// Format serves every verb of fmt, the ones that do not fit a string as well.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String is "[redacted]".
func (s Secret) String() string { return redacted }

// GoString is "[redacted]".
func (s Secret) GoString() string { return redacted }

// LogValue is "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is "[redacted]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON is "[redacted]".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML is "[redacted]".
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }
