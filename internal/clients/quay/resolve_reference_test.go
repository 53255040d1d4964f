package quay

import (
	"errors"
	"strings"
	"testing"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestParseReference(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxRepositoryName)
	for reference, want := range map[string]string{ // registry, repository and tag; "": it cannot name an image
		"busybox":                        "index.docker.io library/busybox latest",
		"busybox:1.36":                   "index.docker.io library/busybox 1.36",
		"docker.io/busybox:1.36":         "index.docker.io library/busybox 1.36",
		"index.docker.io/busybox":        "index.docker.io library/busybox latest",
		"grafana/loki:2.9":               "index.docker.io grafana/loki 2.9",
		"myorg/a/b:1":                    "index.docker.io myorg/a/b 1",
		"quay.io/myorg/etcd":             "quay.io myorg/etcd latest",
		"QUAY.io/myorg/etcd:v1":          "quay.io myorg/etcd v1",
		"quay.io:443/myorg/etcd:v1":      "quay.io:443 myorg/etcd v1",
		"quay.io/etcd:V_1.0-a":           "quay.io etcd V_1.0-a",
		"localhost/x:1":                  "localhost x 1",
		"localhost:5000/x":               "localhost:5000 x latest",
		"registry:5000/x:1":              "registry:5000 x 1",
		"10.0.0.5/x":                     "10.0.0.5 x latest",
		"[::1]:5000/x:1":                 "[::1]:5000 x 1",
		"[fd00::1]/x:1":                  "[fd00::1] x 1",
		"[::ffff:10.0.0.1]/x:1":          "", // container tools take no such spelling
		"Myorg/x:1":                      "myorg x 1",
		"quay.io:65536/x:1":              "",
		"quay.io/" + long + ":1":         "quay.io " + long + " 1",
		"quay.io/a__b/c-d.e:1":           "quay.io a__b/c-d.e 1",
		"":                               "",
		"quay.io/":                       "",
		"/x:1":                           "",
		"quay.io/x:":                     "",
		"quay.io/x:a b":                  "",
		"quay.io/x:1:2":                  "",
		"quay.io/x:.1":                   "",
		"quay.io/x:" + long:              "",
		"quay.io/" + long + "a":          "",
		"quay.io/Myorg/x":                "",
		"quay.io/../x:1":                 "",
		"quay.io/x/../../y:1":            "",
		"quay.io//x:1":                   "",
		"quay.io/x/:1":                   "",
		"quay.io/x%2fy:1":                "",
		"quay.io/x?y:1":                  "",
		"https://quay.io/x:1":            "",
		"oci://quay.io/x:1":              "",
		"./x:1":                          "",
		"..:1/x":                         "",
		"-a.example/x:1":                 "",
		"a..example/x:1":                 "",
		"a_b.example/x:1":                "",
		"quay.io:/x:1":                   "",
		"quay.io:port/x:1":               "",
		"quay.io:123456/x:1":             "",
		"[::1/x:1":                       "",
		"::1/x:1":                        "",
		"ex ample.com/x:1":               "",
		"{{ .Values.image }}":            "",
		"exämple.com/x:1":                "",
		"quay.io/x:1\n":                  "",
		"quay.io/x:1\x00":                "",
		"$(RELATED_IMAGE_X)":             "",
		strings.Repeat("a.", 5000) + "/": "",
	} {
		tag, err := parseReference(reference)
		got := ""
		if err == nil {
			got = tag.RegistryStr() + " " + tag.RepositoryStr() + " " + tag.TagStr()
		} else if !errors.Is(err, pipeline.ErrNoImage) || len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%.100q: error %q", reference, err)
		}
		if got != want {
			t.Errorf("%.100q is %q, want %q", reference, got, want)
		}
	}
}

func TestParseReferenceWithDigest(t *testing.T) {
	t.Parallel()
	for _, reference := range []string{"quay.io/x@sha256:" + strings.Repeat("0", 64), "quay.io/x:1@sha256:" + strings.Repeat("0", 64), "user@quay.io/x:1"} {
		_, err := parseReference(reference)
		wantError(t, err, pipeline.Transient, pipeline.ReasonInternal)
		if errors.Is(err, pipeline.ErrNoImage) {
			t.Errorf("%s: %v", reference, err)
		}
	}
}
