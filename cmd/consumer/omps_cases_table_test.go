package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
	"github.com/omps-consumer/omps-consumer/internal/sandbox"
)

type ompsCase struct {
	name string // folder/function
	run  func(t *testing.T, b *ompsBed)
}

// ompsCases lists the cases, each with a package of its own.
func ompsCases() []ompsCase {
	return slices.Concat(ompsArchiveCases(), ompsBuildCases(), ompsDeleteCases(), ompsAlterCases(), ompsAuthorizationCases())
}

// released pushes another content for each version, so that these releases are
// there.
func (b *ompsBed) released(t *testing.T, pkg string, versions ...string) {
	t.Helper()
	for _, version := range versions {
		files := edited(t, flatOperator(pkg), "Hello, <cluster> & all!", "Hello from "+version)
		r := b.push(t, events.PushEvent{Organization: "int-test", Version: version, Inline: zipped(t, files)})
		wantPublished(t, r, "int-test", pkg, version)
	}
}

func ompsArchiveCases() []ompsCase {
	push := func(t *testing.T, b *ompsBed, organization, version string, archive []byte) events.ResultData {
		t.Helper()
		return b.push(t, events.PushEvent{Organization: organization, Version: version, Inline: archive})
	}
	return []ompsCase{
		{"push_archive/test_initial_upload", func(t *testing.T, b *ompsBed) {
			r := push(t, b, "int-test", "", zipped(t, flatOperator("initial")))
			wantPublished(t, r, "int-test", "initial", "1.0.0")
			if got, status := b.releases(t, "", "int-test/initial"); status != http.StatusOK || !slices.Equal(got, []string{"1.0.0"}) || r.Visibility != pipeline.VisibilityPublic {
				t.Errorf("without authorization: %d %v, visibility %q", status, got, r.Visibility)
			}
		}},
		{"push_archive/test_nested_manifest", func(t *testing.T, b *ompsBed) {
			files := nestedOperator("nested")
			r := push(t, b, "int-test", "", zipped(t, files))
			wantPublished(t, r, "int-test", "nested", "1.0.0")
			if diff := cmp.Diff(paths(files), r.Files); diff != "" {
				t.Error(diff)
			}
			if got, status := b.releases(t, "", "int-test/nested"); status != http.StatusOK || len(got) != 1 {
				t.Errorf("without authorization: %d %v", status, got)
			}
		}},
		{"push_archive/test_upload_with_version", func(t *testing.T, b *ompsBed) {
			wantPublished(t, push(t, b, "int-test", "4.3.2", zipped(t, flatOperator("versioned"))), "int-test", "versioned", "4.3.2")
			b.wantReleases(t, "int-test/versioned", "4.3.2")
		}},
		{"push_archive/test_increment_version", func(t *testing.T, b *ompsBed) {
			b.released(t, "incremented", "1.0.0", "4.3.2")
			wantPublished(t, push(t, b, "int-test", "", zipped(t, flatOperator("incremented"))), "int-test", "incremented", "5.0.0")
			b.wantReleases(t, "int-test/incremented", "1.0.0", "4.3.2", "5.0.0")
		}},
		{"push_archive/test_version_exists", func(t *testing.T, b *ompsBed) {
			b.released(t, "existing", "1.0.0")
			wantRejected(t, push(t, b, "int-test", "1.0.0", zipped(t, flatOperator("existing"))), pipeline.ReasonVersionExists, "1.0.0")
		}},
		{"push_archive/test_incorrect_version", func(t *testing.T, b *ompsBed) {
			for _, version := range []string{"1.0.0.1", "1.0.0-2", "1.0.02", "1.a.2", "1.1"} {
				wantRejected(t, push(t, b, "int-test", version, zipped(t, flatOperator("incorrect"))), pipeline.ReasonInvalidVersion, version)
			}
			b.wantReleases(t, "int-test/incorrect")
		}},
		{"push_archive/test_filetype_not_supported", func(t *testing.T, b *ompsBed) {
			wantRejected(t, push(t, b, "int-test", "", []byte("empty but for this")), pipeline.ReasonBadArchive, "not a zip")
		}},
		{"push_archive/test_file_extension_not_zip", func(t *testing.T, b *ompsBed) {
			// What a file is called says nothing here; what it holds does.
			wantRejected(t, push(t, b, "int-test", "", []byte("\x1f\x8b\x08 a tar.gz, say")), pipeline.ReasonBadArchive, "not a zip")
		}},
		{"push_archive/test_no_file_field", func(t *testing.T, b *ompsBed) {
			data := `{"specversion":"1.0","id":"no-file","source":"/omps-cases","type":"org.koji.operator-manifests.push-requested.v1","data":{}}`
			b.publish("omps.request.push.int-test", data, nil)
			letter := b.deadLetters(1)[0]
			if letter.Subject != "omps.dead-letter.invalid-event" || string(letter.Data) != data {
				t.Errorf("%s: %s", letter.Subject, letter.Data)
			}
		}},
		{"push_archive/test_organization_unaccessible_in_quay", func(t *testing.T, b *ompsBed) {
			id := b.sendPush(t, events.PushEvent{Organization: "foreign", Inline: zipped(t, flatOperator("unaccessible"))})
			b.awaitLog(`"event_id":"`+id+`"`, `"reason":"unauthorized"`, "Unauthorized access")
			b.wantReleases(t, "foreign/unaccessible")
		}},
		{"push_archive/test_upload_password_protected_zip", func(t *testing.T, b *ompsBed) {
			wantRejected(t, push(t, b, "int-test", "", encryptedZip(t)), pipeline.ReasonBadArchive, "is encrypted")
		}},
		{"push_archive/test_upload_invalid_artifact", func(t *testing.T, b *ompsBed) {
			files := edited(t, flatOperator("invalid"), "installModes:", "otherModes:")
			r := push(t, b, "int-test", "", zipped(t, files))
			wantRejected(t, r, pipeline.ReasonInvalidManifests, "installModes")
			if len(r.Error.Faults) == 0 {
				t.Error("no faults are listed")
			}
			b.wantReleases(t, "int-test/invalid")
		}},
		{"push_archive/test_private_organization", func(t *testing.T, b *ompsBed) {
			files := flatOperator("int-test-private")
			r := push(t, b, "private", "", zipped(t, files))
			wantPublished(t, r, "private", "int-test-private", "1.0.0")
			if diff := cmp.Diff(paths(files), r.Files); diff != "" {
				t.Error(diff)
			}
			if _, status := b.releases(t, "", "private/int-test-private"); status != http.StatusForbidden {
				t.Errorf("without authorization: %d", status)
			}
			b.wantReleases(t, "private/int-test-private", "1.0.0")
		}},
	}
}

// encryptedZip is a zip file whose only entry says that it is encrypted.
func encryptedZip(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	entry, err := w.CreateRaw(&zip.FileHeader{Name: "csv.yaml", Method: zip.Store, Flags: 1, CompressedSize64: 4, UncompressedSize64: 4})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write([]byte("\x01\x02\x03\x04")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func ompsBuildCases() []ompsCase {
	return []ompsCase{
		{"push_nvr/test_invalid_zip", func(t *testing.T, b *ompsBed) {
			files := slices.DeleteFunc(flatOperator("no-csv"), func(f pipeline.File) bool { return f.Path == "csv.yaml" })
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: b.build(t, "no-csv", files)})
			wantRejected(t, r, pipeline.ReasonInvalidManifests, "no ClusterServiceVersion")
		}},
		{"push_nvr/test_not_an_operator", func(t *testing.T, b *ompsBed) {
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: sandbox.PlainNVR})
			wantRejected(t, r, pipeline.ReasonNotAnOperatorBuild, "no operator manifests")
		}},
		{"push_nvr/test_nvr_not_found", func(t *testing.T, b *ompsBed) {
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: "no-such-build-1.0-1"})
			wantRejected(t, r, pipeline.ReasonBuildNotFound, "no-such-build-1.0-1")
		}},
		{"push_nvr/test_valid_zip_default_version", func(t *testing.T, b *ompsBed) {
			files := flatOperator("koji-flat")
			nvr := b.build(t, "koji-flat", files)
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: nvr})
			wantPublished(t, r, "int-test", "koji-flat", "1.0.0")
			if diff := cmp.Diff([]string{"crd.yaml", "csv.yaml", "packages.yaml"}, r.Files); diff != "" || r.NVR != nvr {
				t.Errorf("%s: %s", r.NVR, diff)
			}
			wantBundle(t, b.content(t, "int-test/koji-flat", "1.0.0"), files)
		}},
		{"push_nvr/test_valid_zip_defined_version", func(t *testing.T, b *ompsBed) {
			nvr := b.build(t, "koji-versioned", flatOperator("koji-versioned"))
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: nvr, Version: "6.5.4"})
			wantPublished(t, r, "int-test", "koji-versioned", "6.5.4")
		}},
		{"push_nvr/test_nested_manifest", func(t *testing.T, b *ompsBed) {
			files := nestedOperator("koji-nested")
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: b.build(t, "koji-nested", files)})
			wantPublished(t, r, "int-test", "koji-nested", "1.0.0")
			want := map[string]string{}
			for _, f := range files {
				want[f.Path] = string(f.Data)
			}
			if diff := cmp.Diff(want, b.content(t, "int-test/koji-nested", "1.0.0")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(paths(files), r.Files); diff != "" {
				t.Error(diff)
			}
		}},
		{"push_nvr/test_version_exists", func(t *testing.T, b *ompsBed) {
			b.released(t, "koji-existing", "1.0.0")
			nvr := b.build(t, "koji-existing", flatOperator("koji-existing"))
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: nvr, Version: "1.0.0"})
			wantRejected(t, r, pipeline.ReasonVersionExists, "1.0.0")
		}},
		{"push_nvr/test_increment_version", func(t *testing.T, b *ompsBed) {
			b.released(t, "koji-incremented", "7.6.1")
			nvr := b.build(t, "koji-incremented", flatOperator("koji-incremented"))
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: nvr})
			wantPublished(t, r, "int-test", "koji-incremented", "8.0.0")
		}},
		{"push_nvr/test_greenwave", func(t *testing.T, b *ompsBed) {
			passed := b.build(t, "koji-passed", flatOperator("koji-passed"))
			r := b.push(t, events.PushEvent{Organization: "int-test", NVR: passed})
			wantPublished(t, r, "int-test", "koji-passed", "1.0.0")
			if r.Decision == nil || !r.Decision.Satisfied {
				t.Errorf("decision %+v", r.Decision)
			}
			failed := b.build(t, "koji-failed", flatOperator("koji-failed"))
			b.world.Greenwave.Set(failed, sandbox.GateFailed)
			r = b.push(t, events.PushEvent{Organization: "int-test", NVR: failed})
			wantRejected(t, r, pipeline.ReasonGateUnsatisfied, "not satisfied")
			if r.Decision == nil || len(r.Decision.Unsatisfied) == 0 || r.Decision.Summary == "" {
				t.Errorf("Greenwave's answer is not in the result: %+v", r.Decision)
			}
			b.wantReleases(t, "int-test/koji-failed")
		}},
	}
}

// wantBundle checks that a release holds the objects of a flat operator.
func wantBundle(t *testing.T, content map[string]string, files []pipeline.File) {
	t.Helper()
	var bundle struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(content["bundle.yaml"]), &bundle); err != nil || len(content) != 1 {
		t.Fatalf("%v: %v", slices.Sorted(maps.Keys(content)), err)
	}
	for i, list := range []string{"customResourceDefinitions", "clusterServiceVersions", "packages"} {
		var want any
		var got []any
		if err := yaml.Unmarshal(files[i].Data, &want); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal([]byte(bundle.Data[list]), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{want}, got); diff != "" {
			t.Errorf("%s: %s", list, diff)
		}
	}
}

func ompsDeleteCases() []ompsCase {
	wantDeleted := func(t *testing.T, r events.ResultData, repository string, versions ...string) {
		t.Helper()
		slices.Sort(r.Deleted)
		if diff := cmp.Diff(versions, r.Deleted); diff != "" || r.Outcome != pipeline.OutcomeDeleted || r.Organization != "int-test" || r.Repository != "int-test/"+repository {
			t.Errorf("%+v, error %+v: %s", r, r.Error, diff)
		}
	}
	return []ompsCase{
		{"delete_version/test_delete_version", func(t *testing.T, b *ompsBed) {
			b.released(t, "deleted", "10.9.8")
			wantDeleted(t, b.remove(t, "int-test", "deleted", "10.9.8"), "deleted", "10.9.8")
			b.wantReleases(t, "int-test/deleted")
		}},
		{"delete_version/test_version_does_not_exist", func(t *testing.T, b *ompsBed) {
			b.released(t, "kept", "1.0.0")
			wantRejected(t, b.remove(t, "int-test", "kept", "10.9.8"), pipeline.ReasonPackageNotFound, "doesn't exist")
			b.wantReleases(t, "int-test/kept", "1.0.0")
		}},
		{"delete_version/test_delete_all_versions", func(t *testing.T, b *ompsBed) {
			b.released(t, "all-deleted", "1.0.0", "2.0.0")
			wantDeleted(t, b.remove(t, "int-test", "all-deleted", ""), "all-deleted", "1.0.0", "2.0.0")
			b.wantReleases(t, "int-test/all-deleted")
		}},
		{"delete_version/test_organization_unaccessible_in_quay", func(t *testing.T, b *ompsBed) {
			id := b.nextID()
			data := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/omps-cases","type":"org.koji.operator-manifests.delete-requested.v1","data":{"repository":"x","version":"1.0.0"}}`, id)
			b.publish("omps.request.delete.foreign", data, nil)
			b.awaitLog(`"event_id":"`+id+`"`, `"reason":"unauthorized"`, "Unauthorized access")
		}},
		{"delete_version/test_package_does_not_exist", func(t *testing.T, b *ompsBed) {
			wantRejected(t, b.remove(t, "int-test", "no-such-package", ""), pipeline.ReasonPackageNotFound, "not found")
		}},
		{"delete_version/test_increment_version_after_delete", func(t *testing.T, b *ompsBed) {
			for deleted, next := range map[string]string{"6.0.2": "5.0.0", "4.0.1": "7.0.0"} {
				pkg := "after-" + strings.ReplaceAll(deleted, ".", "-")
				b.released(t, pkg, "3.0.0", "4.0.1", "6.0.2")
				wantDeleted(t, b.remove(t, "int-test", pkg, deleted), pkg, deleted)
				r := b.push(t, events.PushEvent{Organization: "int-test", Inline: zipped(t, flatOperator(pkg))})
				wantPublished(t, r, "int-test", pkg, next)
			}
		}},
	}
}

func ompsAlterCases() []ompsCase {
	wantReplaced := func(t *testing.T, b *ompsBed, r events.ResultData, pkg string) {
		t.Helper()
		wantPublished(t, r, "replaced", pkg, "1.0.0")
		text := fmt.Sprint(b.content(t, "replaced/"+pkg, "1.0.0"))
		for old, replacement := range map[string]string{"quay.io": "registry.example.com", "docker.io": "docker.example.com"} {
			if strings.Contains(text, old) || !strings.Contains(text, replacement) {
				t.Errorf("%s was not replaced by %s everywhere:\n%s", old, replacement, text)
			}
		}
		for _, replacement := range r.Replacements {
			if replacement.Count == 0 {
				t.Errorf("%+v", replacement)
			}
		}
	}
	describe := func(t *testing.T, files []pipeline.File) []pipeline.File {
		return edited(t, files, "Something to be said aloud.", "Something to be said aloud, by docker.io/library/speaker.")
	}
	wantSuffix := func(t *testing.T, b *ompsBed, r events.ResultData, pkg string) {
		t.Helper()
		wantPublished(t, r, "suffixed", pkg+"-suffix", "1.0.0")
		content := b.content(t, "suffixed/"+pkg+"-suffix", "1.0.0")
		if name := packageName(t, content); name != pkg+"-suffix" || r.Package != name {
			t.Errorf("package %q in the release, %q in the result", name, r.Package)
		}
		if text := fmt.Sprint(content); !strings.Contains(text, "the "+pkg+"-suffix") {
			t.Errorf("no annotation with the name: %s", text)
		}
	}
	return []ompsCase{
		{"replace_registry/test_replace_during_nvr_push", func(t *testing.T, b *ompsBed) {
			nvr := b.build(t, "replaced-nvr", describe(t, nestedOperator("replaced-nvr")))
			wantReplaced(t, b, b.push(t, events.PushEvent{Organization: "replaced", NVR: nvr}), "replaced-nvr")
		}},
		{"replace_registry/test_replace_during_archive_push", func(t *testing.T, b *ompsBed) {
			for pkg, files := range map[string][]pipeline.File{
				"replaced-nested": nestedOperator("replaced-nested"), "replaced-flat": flatOperator("replaced-flat"),
			} {
				r := b.push(t, events.PushEvent{Organization: "replaced", Inline: zipped(t, describe(t, files))})
				wantReplaced(t, b, r, pkg)
			}
		}},
		{"alter_package_names/test_alter_package_name_during_nvr_push", func(t *testing.T, b *ompsBed) {
			nvr := b.build(t, "altered-nvr", flatOperator("altered-nvr"))
			wantSuffix(t, b, b.push(t, events.PushEvent{Organization: "suffixed", NVR: nvr}), "altered-nvr")
		}},
		{"alter_package_names/test_alter_package_name_during_archive_push", func(t *testing.T, b *ompsBed) {
			r := b.push(t, events.PushEvent{Organization: "suffixed", Inline: zipped(t, nestedOperator("altered-zip"))})
			wantSuffix(t, b, r, "altered-zip")
		}},
	}
}

// The Authorization header of OMPS is the configuration's credentials here: an
// organization without any cannot push or delete.
func ompsAuthorizationCases() []ompsCase {
	return []ompsCase{
		{"authorization/test_upload_without_authorization", func(t *testing.T, b *ompsBed) {
			id := b.sendPush(t, events.PushEvent{Organization: "stranger", Inline: zipped(t, flatOperator("unauthorized"))})
			b.awaitLog(`"event_id":"`+id+`"`, `"reason":"unauthorized"`, "Unauthorized access")
		}},
		{"authorization/test_delete_without_authorization", func(t *testing.T, b *ompsBed) {
			id := b.nextID()
			data := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/omps-cases","type":"org.koji.operator-manifests.delete-requested.v1","data":{"repository":"x","version":"1.0.0"}}`, id)
			b.publish("omps.request.delete.stranger", data, nil)
			b.awaitLog(`"event_id":"`+id+`"`, `"reason":"unauthorized"`, "Unauthorized access")
		}},
	}
}
