package quay

import "testing"

func TestWithoutSignatures(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`refusing redirect to "http://10.0.0.1/token?X-Amz-Signature=SECRET": host "10.0.0.1" is private`: `refusing redirect to "http://10.0.0.1/token": host "10.0.0.1" is private`,
		`get https://user:SECRET@quay.io/x`:            `get https://quay.io/x`,
		`get https://SECRET@quay.io?a=SECRET`:          `get https://quay.io`,
		`get HTTPS://quay.io#SECRET, then end`:         `get HTTPS://quay.io then end`,
		`"https://quay.io/x?a=\"SECRET\\\"" and more`:  `"https://quay.io/x" and more`,
		`https://quay.io/x?a='SECRET'&b=<SECRET>`:      `https://quay.io/x`,
		`https://quay.io/x?mail=a@SECRET`:              `https://quay.io/x`,
		`Get "/token?sig=SECRET": EOF`:                 `Get "/token": EOF`,
		`https://a/x?SECRET https://b@c/y?SECRET done`: `https://a/x https://c/y done`,
		`quay.io/myorg/etcd@sha256:00 is no tag`:       `quay.io/myorg/etcd@sha256:00 is no tag`,
		`is it there? no`:                              `is it there? no`,
		``:                                             ``,
	} {
		if got := withoutSignatures(text); got != want {
			t.Errorf("%s\n became %s\n not    %s", text, got, want)
		}
	}
}
