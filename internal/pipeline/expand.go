package pipeline

import (
	"fmt"
	"strings"
)

// Placeholders that a template may hold.
const (
	placeholderPackage = "{package}"
	placeholderVersion = "{version}"
	placeholderNVR     = "{nvr}"
)

// maxTag is the longest tag that the distribution spec allows.
const maxTag = 128

// maxRepository is how long Quay lets a repository's name be, organization
// included.
const maxRepository = 255

// ExpandRepository makes a repository's name, organization/name, from an
// organization's template. The name may have slashes; each of its parts has to
// be a legal one.
func ExpandRepository(organization, template, pkg string) (string, error) {
	return repositoryOf(organization, strings.ReplaceAll(template, placeholderPackage, pkg))
}

func repositoryOf(organization, name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if !legalPackageName(part) {
			return "", fmt.Errorf("%.300q cannot be a repository's name", name)
		}
	}
	if name = organization + "/" + name; len(name) > maxRepository {
		return "", fmt.Errorf("repository %.300q is longer than %d", name, maxRepository)
	}
	return name, nil
}

// ExpandTag makes a tag from an organization's template. Characters that no
// tag may hold, such as the + of build metadata, become underscores.
func ExpandTag(template, pkg, version string, nvr NVR) (string, error) {
	s := strings.NewReplacer(placeholderPackage, pkg, placeholderVersion, version,
		placeholderNVR, nvr.String()).Replace(template)
	tag := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			return r
		}
		return '_'
	}, s)
	switch {
	case tag == "" || tag[0] == '.' || tag[0] == '-':
		return "", fmt.Errorf("template %q makes %q, which is no tag", template, s)
	case len(tag) > maxTag:
		return "", fmt.Errorf("template %q makes a tag of %d characters, more than %d", template, len(tag), maxTag)
	}
	return tag, nil
}

// bundleTags are the tags of one of a build's bundles. The NVR names the
// build, not the bundle: where there are several, the version is added to it.
func bundleTags(templates []string, pkg, version string, nvr NVR, several bool) ([]string, error) {
	var tags []string
	seen := make(map[string]bool)
	for _, template := range templates {
		if nvr.IsZero() && strings.Contains(template, placeholderNVR) {
			continue // an archive that no build made
		}
		if several && !strings.Contains(template, placeholderVersion) {
			template += "-" + placeholderVersion
		}
		tag, err := ExpandTag(template, pkg, version, nvr)
		if err != nil {
			return nil, err
		}
		if !seen[tag] {
			seen[tag] = true
			tags = append(tags, tag)
		}
	}
	return tags, nil
}
