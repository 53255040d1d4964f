package koji

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

func TestFindArchiveCaptured(t *testing.T) {
	t.Parallel()
	md5sum := pipeline.Checksum{Algorithm: "md5", Hex: "00f8c0c22677b7ce116165bf13174ba4"}
	client := newClient(t, replay(t), nil)
	for nvrText, want := range map[string]pipeline.Archive{
		"int-test-operator-metadata-container-v0.9.2-1": {
			Path: "packages/int-test-operator-metadata-container/v0.9.2/1/files/operator-manifests/operator_manifests.zip",
			Size: 23980, Checksum: md5sum,
		},
		"int-vol-operator-metadata-container-v1.0.0-7": {
			Path: "vol/vol3/packages/int-vol-operator-metadata-container/v1.0.0/7/files/operator-manifests/operator_manifests.zip",
			Size: 23980, Checksum: md5sum,
		},
		"int-old-operator-metadata-container-v0.6.1-4": {
			Path: "packages/int-old-operator-metadata-container/v0.6.1/4/data/logs/operator_manifests.zip",
			Size: -1,
		},
		"int-oldvol-operator-metadata-container-v0.5.0-2": {
			Path: "vol/vol3/packages/int-oldvol-operator-metadata-container/v0.5.0/2/data/logs/operator_manifests.zip",
			Size: -1,
		},
	} {
		want.Name = archiveName
		build, err := client.FindBuild(t.Context(), 0, nvr(t, nvrText))
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.FindArchive(t.Context(), build)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", nvrText, err, diff)
		}
	}
}

func TestFindArchiveNotListed(t *testing.T) {
	t.Parallel()
	complete := pipeline.HubBuild{ID: 1873402, NVR: nvr(t, "a-1-2")}
	typed := func(id int64, name string) pipeline.HubBuild {
		b := complete
		b.ID, b.ManifestsArchive = id, name
		return b
	}
	logged := func(id int64, name string) pipeline.HubBuild {
		b := complete
		b.ID, b.LogArchive = id, name
		return b
	}
	client := newClient(t, replay(t), nil)
	for name, b := range map[string]pipeline.HubBuild{
		"no archives":         typed(1873406, archiveName),
		"another name":        typed(1873402, "operator_manifests.ZIP"),
		"a path for a name":   typed(1873402, "x/"+archiveName),
		"dots for a name":     typed(1873402, ".."),
		"no manifests":        complete,
		"not among the logs":  logged(1873405, archiveName),
		"a path among logs":   logged(1873404, "./"+archiveName),
		"over-long name":      typed(1873402, strings.Repeat("x", 1000)),
		"unprintable in name": logged(1873404, "a\nb"),
	} {
		_, err := client.FindArchive(t.Context(), b)
		if pipeline.ClassOf(err) != pipeline.Rejected || pipeline.ReasonOf(err) != pipeline.ReasonArchiveNotFound {
			t.Errorf("%s: %s %s: %v", name, pipeline.ClassOf(err), pipeline.ReasonOf(err), err)
		}
	}
}

// TestFindArchiveHostile: what the hub says of an archive is not believed
// when it cannot be checked or leads elsewhere.
func TestFindArchiveHostile(t *testing.T) {
	t.Parallel()
	str := func(s string) string { return "<string>" + s + "</string>" }
	entry := func(size, kind, checksum string) string {
		return array("<nil/>", "<int>1</int>", structure("filename", "<nil/>"),
			structure("filename", str(archiveName), "size", size, "checksum_type", kind, "checksum", checksum))
	}
	md5sum, sha1sum, sha256sum := str(strings.Repeat("aB", 16)), str(strings.Repeat("0", 40)), str(strings.Repeat("0", 64))
	b := pipeline.HubBuild{ID: 7, NVR: nvr(t, "a-1-2"), ManifestsArchive: archiveName}
	find := func(xml string, b pipeline.HubBuild) (pipeline.Archive, error) {
		return newClient(t, always(answer(xml)), nil).FindArchive(t.Context(), b)
	}
	for kind, sum := range map[string]string{"0": md5sum, "1": sha1sum, "2": sha256sum} {
		a, err := find(entry("<i8>5368709120</i8>", "<int>"+kind+"</int>", sum), b)
		if err != nil || a.Size != 5368709120 || str(a.Checksum.Hex) != strings.ToLower(sum) {
			t.Errorf("checksum type %s: %+v, %v", kind, a, err)
		}
	}
	bad := map[string]string{
		"not an array":      structure(),
		"nil":               "<nil/>",
		"size nil":          entry("<nil/>", "<int>0</int>", md5sum),
		"size text":         entry("<string>5</string>", "<int>0</int>", md5sum),
		"size negative":     entry("<int>-1</int>", "<int>0</int>", md5sum),
		"checksum nil":      entry("<int>5</int>", "<int>0</int>", "<nil/>"),
		"checksum short":    entry("<int>5</int>", "<int>0</int>", str("ab")),
		"checksum no hex":   entry("<int>5</int>", "<int>0</int>", str(strings.Repeat("xy", 16))),
		"checksum of other": entry("<int>5</int>", "<int>2</int>", md5sum),
		"checksum type new": entry("<int>5</int>", "<int>3</int>", sha256sum),
		"checksum type nil": entry("<int>5</int>", "<nil/>", md5sum),
	}
	for name, xml := range bad {
		if _, err := find(xml, b); pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := entry("<int>5</int>", "<int>0</int>", md5sum)
	for _, volume := range []string{"..", ".", "a/b", "a\\b", "a\x00"} {
		b := b
		b.Volume = volume
		if a, err := find(good, b); pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable {
			t.Errorf("volume %q: %+v, %v", volume, a, err)
		}
	}
	b.ManifestsArchive, b.LogArchive = "", archiveName
	for _, p := range []string{
		"", ".", "/", "/etc/passwd", "../x.zip", "packages/../x.zip", "packages/..", "a\\b", "a/b\x7f", "packages//../../x", "..",
	} {
		xml := array(structure("name", str(archiveName), "dir", str("."), "path", str(p)))
		if a, err := find(xml, b); pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable {
			t.Errorf("path %q: %+v, %v", p, a, err)
		}
	}
	for raw, want := range map[string]string{"./a/./b..zip": "a/b..zip", "a//b": "a/b", "a/b/": "a/b"} {
		xml := array(structure("name", str(archiveName), "path", str(raw)))
		if a, err := find(xml, b); a.Path != want || err != nil {
			t.Errorf("path %q: %q, %v", raw, a.Path, err)
		}
	}
}

func TestOpenArchive(t *testing.T) {
	t.Parallel()
	zip := capture(t, archiveName)
	const file = "packages/a b+c%2f/1~2^3/4,x?#é/files/operator-manifests/" + archiveName
	client := newClient(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/kojifiles/"+file || r.URL.RawQuery != "" {
			t.Errorf("%s %q", r.Method, r.URL.Path)
		}
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding %q", got)
		}
		w.Header().Set("Content-Type", "application/zip")
		w.Write(zip)
	})
	body, err := client.OpenArchive(t.Context(), pipeline.Archive{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if sum := md5.Sum(got); hex.EncodeToString(sum[:]) != "00f8c0c22677b7ce116165bf13174ba4" || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestOpenArchivePath(t *testing.T) {
	t.Parallel()
	client := newClient(t, nil, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	for _, file := range []string{"", ".", "..", "/x", "../x", "a/../../x", "a\nb"} {
		_, err := client.OpenArchive(t.Context(), pipeline.Archive{Path: file})
		if pipeline.ClassOf(err) != pipeline.Rejected || pipeline.ReasonOf(err) != pipeline.ReasonArchiveNotFound {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// TestOpenArchiveEveryStatus: a file that is not there may still come, all
// else is the server's trouble; only 200 is a file.
func TestOpenArchiveEveryStatus(t *testing.T) {
	t.Parallel()
	code := 0
	client := newClient(t, nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	for code = 200; code <= 599; code++ {
		body, err := client.OpenArchive(t.Context(), pipeline.Archive{Path: "x"})
		if code == 200 {
			if err != nil {
				t.Error(err)
				continue
			}
			body.Close()
			continue
		}
		reason := pipeline.ReasonKojiUnavailable
		switch code {
		case 401, 403:
			reason = pipeline.ReasonUnauthorized
		case 404, 410:
			reason = pipeline.ReasonArchiveNotFound
		}
		if pipeline.ClassOf(err) != pipeline.Transient || pipeline.ReasonOf(err) != reason {
			t.Errorf("%d: %s %s: %v", code, pipeline.ClassOf(err), pipeline.ReasonOf(err), err)
		}
	}
}

func TestOpenArchiveNotTheFile(t *testing.T) {
	t.Parallel()
	for _, header := range []http.Header{
		{"Content-Type": {"text/html; charset=utf-8"}},
		{"Content-Type": {"application/zip"}, "Content-Encoding": {"gzip"}},
	} {
		client := newClient(t, nil, func(w http.ResponseWriter, _ *http.Request) {
			for name, values := range header {
				w.Header()[name] = values
			}
			io.WriteString(w, "<html>")
		})
		_, err := client.OpenArchive(t.Context(), pipeline.Archive{Path: "x"})
		if pipeline.ReasonOf(err) != pipeline.ReasonKojiUnavailable {
			t.Errorf("%v: %v", header, err)
		}
	}
}

// TestOpenArchiveBreaksOff: a download that ends early or never is an error
// of the body, not a shorter file.
func TestOpenArchiveBreaksOff(t *testing.T) {
	t.Parallel()
	zip := capture(t, archiveName)
	client := newClient(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "23980")
		w.Write(zip[:len(zip)/2])
		w.(http.Flusher).Flush()
		if strings.HasSuffix(r.URL.Path, "late") {
			<-r.Context().Done()
		}
	})
	body, err := client.OpenArchive(t.Context(), pipeline.Archive{Path: "cut"})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	late, err := client.OpenArchive(ctx, pipeline.Archive{Path: "late"})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if _, err := io.CopyN(io.Discard, late, 100); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, late); !errors.Is(err, context.Canceled) {
		t.Errorf("late: %v", err)
	}
}

// TestOpenArchiveStreams: the body comes as it is sent, so that the caller's
// cap can end it.
func TestOpenArchiveStreams(t *testing.T) {
	t.Parallel()
	client := newClient(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 1<<16)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	body, err := client.OpenArchive(t.Context(), pipeline.Archive{Path: "endless"})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := clients.ReadBody(body, 1<<20); !errors.Is(err, clients.ErrTooLarge) {
		t.Error(err)
	}
}
