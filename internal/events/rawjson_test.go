package events

import (
	"encoding/json"
	"testing"
)

// eachMember sees what encoding/json sees.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, ` { "a" : [ {"b":"}\\"} , "]\"" ] , "c" : -1.5e3 } `, `{"a\"\\":"\\\\","\u0061":null,"":true}`,
		`{"a":{"b":[[],{}]},"a":2}`, `{"\\":"\\"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		object, err := parseObject(data)
		var want map[string]json.RawMessage
		if jsonErr := json.Unmarshal(data, &want); (err == nil) != (jsonErr == nil && want != nil) {
			if err == nil || jsonErr == nil && want != nil && len(data) < 100 && !explained(err) {
				t.Fatalf("we say %v, encoding/json %v of %q", err, jsonErr, data)
			}
		}
		if err != nil {
			return
		}
		got := make(map[string]string)
		end, _ := eachMember(object, 0, func(name string, i int) int {
			end := valueEnd(object, i)
			got[name] = string(object[i:end])
			return end
		})
		if len(got) != len(want) || end != len(object) {
			t.Fatalf("%v and %d of %q, want %d members", got, end, data, len(want))
		}
		for name, value := range want {
			if string(value) != got[name] || string(object.member(name)) != got[name] {
				t.Fatalf("%q is %q, want %q", name, got[name], value)
			}
			var text string
			if json.Unmarshal(value, &text) == nil && raw(value).text() != text {
				t.Fatalf("%s reads %q, want %q", value, raw(value).text(), text)
			}
		}
	})
}

// explained: what encoding/json takes and we refuse on purpose.
func explained(err error) bool { return err.Error() == "payload is not UTF-8" }
