package pipeline

import "testing"

func TestParseNVR(t *testing.T) {
	for in, want := range map[string]NVR{
		"etcd-1.0-1": {"etcd", "1.0", "1"},
		"int-test-operator-metadata-container-v0.9-1": {"int-test-operator-metadata-container", "v0.9", "1"},
		"hello-rpm-2.10-4.el8,draft_1873415":          {"hello-rpm", "2.10", "4.el8,draft_1873415"},
	} {
		got, err := ParseNVR(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("ParseNVR(%q) = %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "a", "a-b", "-1-1", "a--1", "a-1-", "a/b-1-1", "a-1 -1", "a-1-1\n", "..-..-..", "a-.-1", `a\b-1-1`, "a\u0085-1-1", "a\u00a0-1-1", "a\xff-1-1", string(make([]byte, 600))} {
		if got, err := ParseNVR(in); err == nil {
			t.Errorf("ParseNVR(%q) = %+v", in, got)
		}
	}
	if err := (NVR{"a", "1-2", "3"}).Validate(); err == nil {
		t.Error("a dash in the version is not a build's")
	}
}

func FuzzParseNVR(f *testing.F) {
	f.Add("a-b-c")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseNVR(s); err == nil && n.String() != s {
			t.Errorf("%q becomes %q", s, n)
		}
	})
}
