package pipeline

import (
	"strings"
	"testing"
)

func TestSuffix(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, in, want string }{
		{"plain", "packageName: etcd\nchannels: []\n", "packageName: etcd-x\nchannels: []\n"},
		{"plain with a comment", "packageName: etcd # the name\n", "packageName: etcd-x # the name\n"},
		{"plain at the end of the file", "packageName: etcd", "packageName: etcd-x"},
		{"plain behind blanks", "packageName:   etcd  \t\n", "packageName:   etcd-x  \t\n"},
		{"plain on the next line", "packageName:\n  etcd\n", "packageName:\n  etcd-x\n"},
		{"single quotes", "packageName: 'etcd'\n", "packageName: 'etcd-x'\n"},
		{"double quotes", `packageName: "etcd"` + "\n", `packageName: "etcd-x"` + "\n"},
		{"an escape", `packageName: "et\x63d\\"`, `packageName: "et\x63d\\-x"`},
		{"a quote in quotes", `packageName: 'et''cd' # '`, `packageName: 'et''cd-x' # '`},
		{"flow", `{"channels":[],"packageName":"etcd"}`, `{"channels":[],"packageName":"etcd-x"}`},
		{"plain in flow", `{channels: [], packageName: etcd, a: b}`, `{channels: [], packageName: etcd-x, a: b}`},
		{"CRLF", "a: b\r\npackageName: etcd\r\n", "a: b\r\npackageName: etcd-x\r\n"},
		{"CR", "a: b\rpackageName: etcd\r", "a: b\rpackageName: etcd-x\r"},
		{"byte order mark", "\ufeffpackageName: etcd\n", "\ufeffpackageName: etcd-x\n"},
		{"byte order mark in flow", "\ufeff{packageName: etcd}", "\ufeff{packageName: etcd-x}"},
		{"columns are characters", "{a: \"ü日😀\", packageName: etcd}", "{a: \"ü日😀\", packageName: etcd-x}"},
		{"NEL, LS and PS end lines", "a: |\n  b\u0085  c\u2028  d\u2029  e\npackageName: etcd\n", "a: |\n  b\u0085  c\u2028  d\u2029  e\npackageName: etcd-x\n"},
		{"of two keys the last", "packageName: one\npackageName: two\n", "packageName: one\npackageName: two-x\n"},
		{"document start", "# c\n---\npackageName: etcd\n...\n", "# c\n---\npackageName: etcd-x\n...\n"},
		{"an explicit key", "? packageName\n: etcd\n", "? packageName\n: etcd-x\n"},
		{"another file that holds the name", "a: etcd\npackageName: etcd\nb: etcd\n", "a: etcd\npackageName: etcd-x\nb: etcd\n"},
		{"there already", "packageName: etcd-x\n", "packageName: etcd-x\n"},
		{"nothing but the suffix", "packageName: -x\n", "packageName: -x\n"},

		{"a number", "packageName: 17\n", "packageName: 17\n"}, // validation refuses it
		{"empty", "packageName: ''\n", "packageName: ''\n"},    // validation refuses it

		{"alias", "a: &a etcd\npackageName: *a\n", "fault: is an alias"},
		{"anchor", "packageName: &a etcd\n", "fault: has an anchor"},
		{"tag", "packageName: !!str etcd\n", "fault: anchor or a tag"},
		{"tag without a name", "packageName: ! etcd\n", "fault: not to be found"},
		{"anchor above", "--- &a\npackageName: etcd\n", "fault: has an anchor"},
		{"literal", "packageName: |-\n  etcd\n", "fault: is a block of text"},
		{"folded", "packageName: >-\n  etcd\n", "fault: is a block of text"},
		{"plain on two lines", "packageName: et\n  cd\n", "fault: is on several lines"},
		{"quoted on two lines", "packageName: \"et\\\n  cd\"\n", "fault: is on several lines"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := []File{{"etcd.package.yaml", []byte(c.in)}, {"z.yaml", []byte("a: etcd\n")}}
			d := newDraft(manifestsOf(t, files))
			before := d.op.packageName()
			d.suffixPackage("-x")
			if got := verdict(d); got != c.want {
				if says, ok := strings.CutPrefix(c.want, "fault: "); !ok || !strings.Contains(got, says) {
					t.Fatalf("got %q, want %q", got, c.want)
				}
			}
			if len(d.faults) == 0 && before != "" && d.op.packageName() != strings.TrimSuffix(before, "-x")+"-x" {
				t.Errorf("%q became %q", before, d.op.packageName())
			}
			if string(files[0].Data) != c.in || string(d.files[1].Data) != "a: etcd\n" {
				t.Error("more than the draft was edited")
			}
		})
	}
}

// verdict is what became of a draft's first file, or its faults.
func verdict(d *draft) string {
	if len(d.faults) == 0 {
		return string(d.files[0].Data)
	}
	var list []string
	for _, f := range d.faults {
		list = append(list, f.String())
	}
	return "fault: " + strings.Join(list, "\n")
}

func TestSuffixOfBundle(t *testing.T) {
	t.Parallel()
	order := orderOf(t, folder(t, "testdata/prepare/bundle/in"))
	order.Organization.PackageNameSuffix = "-x"
	rel, err := Prepare{}.Do(t.Context(), order)
	if err != nil {
		t.Fatalf("%v %v", err, FaultsOf(err))
	}
	b := rel.Bundles[0]
	if rel.Package != "gadgets-x" || b.Repository != "all/gadgets-x" || b.Labels[labelPackage] != "gadgets-x" {
		t.Errorf("package %s, repository %s, label %s", rel.Package, b.Repository, b.Labels[labelPackage])
	}
	checkAnnotations(t, b)
}

// A suffix that would make the name another kind of value is a fault.
func TestSuffixKeepsTheKind(t *testing.T) {
	t.Parallel()
	d := newDraft(manifestsOf(t, []File{{"p.yaml", []byte("packageName: 1e\n")}}))
	d.suffixPackage("5")
	if got := verdict(d); !strings.Contains(got, "reads differently") {
		t.Errorf("got %q", got)
	}
}

func TestCheckSuffix(t *testing.T) {
	t.Parallel()
	for suffix, ok := range map[string]bool{
		"": true, "-x": true, ".rc1": true, "_a": true, "x": true, "--x9": true,
		"-": false, "-X": false, "/x": false, " x": false, "x ": false, "'": false, ": x": false, "x#": false, "ü": false, "\n": false,
		strings.Repeat("x", 101): false,
	} {
		if err := CheckSuffix(suffix); (err == nil) != ok {
			t.Errorf("%q: %v", suffix, err)
		}
	}
}
