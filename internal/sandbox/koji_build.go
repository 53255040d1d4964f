package sandbox

import (
	"crypto/md5"  //nolint:gosec // a checksum that Koji has
	"crypto/sha1" //nolint:gosec // as above
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// buildTime is when the first builds began: fixed, so that answers are
// reproducible.
var buildTime = time.Date(2026, time.January, 15, 9, 0, 0, 0, time.UTC)

// logNames are the logs that OSBS leaves with each container build.
var logNames = []string{"orchestrator.log", "x86_64.log"}

const parentImage = "registry.example.com/base/minimal:1.0-1"

// checksumType is one of Koji's, numbered by koji/__init__.py CHECKSUM_TYPES.
type checksumType struct {
	number int64
	hash   func() hash.Hash
}

func (c checksumType) sum(data []byte) []byte {
	h := c.hash()
	h.Write(data)
	return h.Sum(nil)
}

var checksumTypes = map[string]checksumType{
	"": {0, md5.New}, "md5": {0, md5.New}, "sha1": {1, sha1.New}, "sha256": {2, sha256.New},
}

// dir is the build's directory below the files root, as koji.PathInfo.build.
func (r *hubBuild) dir() string {
	dir := path.Join("packages", r.nvr.Name, r.nvr.Version, r.nvr.Release)
	if r.Volume != "DEFAULT" {
		dir = path.Join("vol", r.Volume, dir)
	}
	return dir
}

// logPath is the path of a log as getBuildLogs tells it, with its /./.
func (r *hubBuild) logPath(name string) string { return r.dir() + "/data/logs/./" + name }

func (r *hubBuild) archivePath() string {
	if r.Form == FormLogs {
		return r.logPath(r.ArchiveName)
	}
	return path.Join(r.dir(), "files/operator-manifests", r.ArchiveName)
}

// completed is when the build was, or will be.
func (r *hubBuild) completed() time.Time {
	if r.Completed.IsZero() {
		return buildTime.Add(time.Duration(r.ID%86400)*time.Second + time.Minute)
	}
	return r.Completed.UTC().Truncate(time.Microsecond)
}

// info is getBuild's answer, in the hub's order of keys.
func (r *hubBuild) info() object {
	completed := r.completed()
	started := completed.Add(-time.Minute)
	var source, task, completion, completionTS any
	if r.State != StateBuilding {
		completion, completionTS = timeText(completed), timestamp(completed)
	}
	if r.State.imported() && !r.NoExtra {
		source = "git://pkgs.example.com/containers/" + r.nvr.Name + "#" + strings.Repeat("5a", 20)
		task = r.task()
	}
	var generator, generatorName any
	if !r.NoExtra {
		generator, generatorName = int64(1), "atomic-reactor"
	}
	return object{
		{"build_id", r.ID}, {"cg_id", generator},
		{"completion_time", completion}, {"completion_ts", completionTS},
		{"creation_event_id", r.ID + 40_000_000},
		{"creation_time", timeText(started)}, {"creation_ts", timestamp(started)},
		{"draft", r.Draft}, {"epoch", nil}, {"extra", r.extra()},
		{"id", r.ID}, {"name", r.nvr.Name}, {"nvr", r.nvr.String()},
		{"owner_id", int64(3)}, {"owner_name", "builder"},
		{"package_id", packageID(r.nvr.Name)}, {"package_name", r.nvr.Name},
		{"promoter_id", nil}, {"promoter_name", nil}, {"promotion_time", nil}, {"promotion_ts", nil},
		{"release", r.nvr.Release}, {"source", source},
		{"start_time", timeText(started)}, {"start_ts", timestamp(started)},
		{"state", r.State.number()}, {"task_id", task}, {"version", r.nvr.Version},
		{"volume_id", r.volumeID()}, {"volume_name", r.Volume}, {"cg_name", generatorName},
	}
}

func (r *hubBuild) task() int64 { return r.ID + 41_000_000 }

func (r *hubBuild) volumeID() int64 {
	if r.Volume == "DEFAULT" {
		return 0
	}
	return 1
}

func packageID(name string) int64 { return int64(crc32.ChecksumIEEE([]byte(name)) % 100_000) }

// timeText is Python's str of a time: with six digits of a second, or none.
func timeText(t time.Time) string {
	if t.Nanosecond() == 0 {
		return t.Format("2006-01-02 15:04:05+00:00")
	}
	return t.Format("2006-01-02 15:04:05.000000+00:00")
}

func timestamp(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// extra is what OSBS writes of a container build. It sets the old key beside
// the new one.
func (r *hubBuild) extra() any {
	if r.NoExtra || !r.State.imported() {
		return nil
	}
	extra := object{
		{"image", r.image()},
		{"osbs_build", object{
			{"kind", "container_build"}, {"engine", "docker_api"}, {"subtypes", stringList(r.Subtypes)},
		}},
		{"submitter", "osbs"},
		{"container_koji_task_id", r.task()},
	}
	if r.Form != FormNone {
		extra = append(extra, member{"operator_manifests_archive", r.ArchiveName})
	}
	typeinfo := object{}
	if r.Form == FormArchive {
		typeinfo = append(typeinfo, member{"operator-manifests", object{{"archive", r.ArchiveName}}})
	}
	return append(extra, member{"typeinfo", append(typeinfo, member{"image", r.image()})})
}

func (r *hubBuild) image() object {
	tag := r.nvr.Version + "-" + r.nvr.Release
	listType := "application/vnd.docker.distribution.manifest.list.v2+json"
	return object{
		{"autorebuild", false}, {"isolated", false}, {"help", nil},
		{"parent_build_id", int64(900_000)},
		{"parent_images", []any{parentImage}},
		{"parent_image_builds", object{
			{parentImage, object{{"id", int64(900_000)}, {"nvr", "base-minimal-container-1.0-1"}}},
		}},
		{"media_types", []any{listType, "application/vnd.docker.distribution.manifest.v2+json"}},
		{"index", object{
			{"tags", []any{tag}},
			{"floating_tags", []any{"latest", r.nvr.Version}},
			{"pull", []any{r.repository() + "@" + imageDigest, r.repository() + ":" + tag}},
			{"digests", object{{listType, imageDigest}}},
		}},
	}
}

func (r *hubBuild) repository() string { return "registry.example.com/operators/" + r.nvr.Name }

// imageDigest names the container image, which nobody here pulls.
var imageDigest = "sha256:" + strings.Repeat("9a", 32)

// archives is listArchives' answer before any filter. An image archive holds
// its architecture beside the rest when only images are asked for.
func (r *hubBuild) archives(onlyImages bool) []object {
	if !r.State.imported() || r.NoExtra {
		return nil
	}
	var list []object
	if r.Form == FormArchive && !r.MissingArchive {
		list = append(list, r.manifestsArchive())
	}
	image := r.imageArchive()
	if onlyImages {
		image = append(object{{"arch", "x86_64"}}, image...)
	}
	return append(list, image)
}

func (r *hubBuild) manifestsArchive() object {
	size := int64(len(r.Archive))
	if r.WrongSize {
		size--
	}
	sum := slices.Clone(r.checksum)
	if r.WrongChecksum {
		sum[0] ^= 0xff
	}
	extra := object{{"typeinfo", object{{"operator-manifests", object{}}}}}
	return object{
		{"btype", "operator-manifests"}, {"btype_id", int64(5)},
		{"build_id", r.ID}, {"buildroot_id", r.ID + 9_000_000},
		{"checksum", hex.EncodeToString(sum)}, {"checksum_type", checksumTypes[r.Checksum].number},
		{"compression_type", "zip"}, {"extra", extra}, {"filename", r.ArchiveName},
		{"id", 2*r.ID + 1}, {"metadata_only", false}, {"size", size},
		{"type_description", "Zip file"}, {"type_extensions", "zip"}, {"type_id", int64(2)}, {"type_name", "zip"},
	}
}

func (r *hubBuild) imageArchive() object {
	tag := r.nvr.Version + "-" + r.nvr.Release
	docker := object{
		{"id", imageDigest}, {"parent_id", imageDigest},
		{"repositories", []any{r.repository() + ":" + tag}},
		{"tags", []any{tag}}, {"floating_tags", []any{"latest", r.nvr.Version}},
		{"layer_sizes", []any{object{{"diff_id", imageDigest}, {"size", int64(215040)}}}},
		{"digests", object{{"application/vnd.docker.distribution.manifest.v2+json", imageDigest}}},
	}
	if r.ImageLabels != nil {
		labels := object{}
		for _, name := range slices.Sorted(maps.Keys(r.ImageLabels)) {
			labels = append(labels, member{name, r.ImageLabels[name]})
		}
		docker = append(docker, member{"config", object{
			{"architecture", "amd64"}, {"config", object{{"Labels", labels}}}, {"os", "linux"},
		}})
	}
	extra := object{{"image", object{{"arch", "x86_64"}}}, {"docker", docker}}
	return object{
		{"btype", "image"}, {"btype_id", int64(4)},
		{"build_id", r.ID}, {"buildroot_id", r.ID + 9_000_000},
		{"checksum", strings.Repeat("3b", md5.Size)}, {"checksum_type", int64(0)},
		{"compression_type", "tar"}, {"extra", extra},
		{"filename", fmt.Sprintf("docker-image-%s.x86_64.tar.gz", imageDigest)},
		{"id", 2 * r.ID}, {"metadata_only", false}, {"size", int64(302)},
		{"type_description", "Tar file"}, {"type_extensions", "tar tar.gz tar.bz2 tar.xz tgz"},
		{"type_id", int64(4)}, {"type_name", "tar"},
	}
}

// logs is getBuildLogs' answer: the hub reads the directory, so that a deleted
// build has none.
func (r *hubBuild) logs() []any {
	list := []any{}
	if r.State != StateComplete || r.NoExtra {
		return list
	}
	names := slices.Clone(logNames)
	if r.Form == FormLogs && !r.MissingArchive {
		names = append(names, r.ArchiveName)
		slices.Sort(names)
	}
	for _, name := range names {
		list = append(list, object{{"name", name}, {"dir", "."}, {"path", r.logPath(name)}})
	}
	return list
}

func stringList(values []string) []any {
	list := make([]any, len(values))
	for i, v := range values {
		list[i] = v
	}
	return list
}
