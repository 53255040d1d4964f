package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

// maxErrorBody is how much of an answer is read for its message.
const maxErrorBody = 64 << 10

// ErrTooLarge is in the chain of the error about an answer beyond its limit.
var ErrTooLarge = errors.New("answer is too large")

// ReadBody reads all of r, at most limit bytes. What goes on beyond that is an
// error with ErrTooLarge.
func ReadBody(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return data, nil
}

// readMessage finds the words for people in an answer that is an error, and
// closes its body. An answer that breaks off says as much as came.
func readMessage(resp *http.Response) string {
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusOK {
		return "" // the body of 101 is the bare connection
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var fields map[string]any
	if json.Unmarshal(body, &fields) == nil {
		return messageIn(fields)
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && kind == "text/plain" {
		return string(body)
	}
	return ""
}

func messageIn(fields map[string]any) string {
	if nested, ok := fields["error"].(map[string]any); ok {
		fields = nested
	}
	for _, key := range []string{"message", "error_message", "detail", "error"} {
		if text, ok := fields[key].(string); ok && text != "" {
			return text
		}
	}
	return ""
}
