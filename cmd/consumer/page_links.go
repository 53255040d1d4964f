package main

import (
	"net/url"
	"strconv"
	"strings"
)

// pageLinks lead from the page to Koji's web interface and to Quay's. Both
// come from the configuration, and are http or https.
type pageLinks struct {
	koji string // "": nobody knows where it is
	quay string
}

// newPageLinks takes koji.web_url, or where Koji puts its web interface beside
// the hub: at /koji.
func newPageLinks(c Config) pageLinks {
	koji := c.Koji.WebURL
	if hub, usual := strings.CutSuffix(strings.TrimRight(c.Koji.HubURL, "/"), "/kojihub"); koji == "" && usual {
		koji = hub + "/koji"
	}
	return pageLinks{koji: strings.TrimRight(koji, "/"), quay: strings.TrimRight(c.Quay.URL, "/")}
}

// build is the page of a build at Koji, "" where there is none.
func (l pageLinks) build(id int64, nvr string) string {
	switch {
	case l.koji == "":
		return ""
	case id > 0:
		return l.koji + "/buildinfo?buildID=" + strconv.FormatInt(id, 10)
	case nvr != "":
		return l.koji + "/search?" + url.Values{"type": {"build"}, "match": {"exact"}, "terms": {nvr}}.Encode()
	}
	return ""
}

// repository is a page of Quay: of an image where reference names one by its
// digest, else of the repository.
func (l pageLinks) repository(repository, reference string) string {
	organization, name, ok := strings.Cut(repository, "/")
	if !ok || organization == "" || name == "" {
		return ""
	}
	page := l.quay + "/repository/" + url.PathEscape(organization)
	for part := range strings.SplitSeq(name, "/") {
		page += "/" + url.PathEscape(part)
	}
	if _, digest, named := strings.Cut(reference, "@"); named {
		page += "/manifest/" + url.PathEscape(digest)
	}
	return page
}

// buildAddress is the page of a build for an organization, or of a result that
// has none.
func buildAddress(organization, nvr string, sequence uint64) string {
	if organization == "" || nvr == "" {
		return "/results/" + strconv.FormatUint(sequence, 10)
	}
	return "/builds/" + url.PathEscape(organization) + "/" + url.PathEscape(nvr)
}
