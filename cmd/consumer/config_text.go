package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// checkURL wants an absolute URL of one of the schemes that names a server and
// a path at most. Its errors never repeat the URL, which may hold a password.
func checkURL(s string, schemes ...string) error {
	expected := fmt.Errorf("expects a URL that begins with %s://", strings.Join(schemes, ":// or "))
	u, err := url.Parse(s)
	if err != nil || strings.ContainsFunc(s, unicode.IsSpace) {
		return expected
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	switch {
	case !known, u.Hostname() == "", strings.HasSuffix(u.Host, ":"):
		return expected
	case u.User != nil:
		return errors.New("must not hold a user or password")
	case u.RawQuery != "", strings.ContainsAny(s, "?#"):
		return errors.New("must not hold a query or fragment")
	case u.Port() != "":
		return checkPort(u.Port(), 1)
	}
	return nil
}

// checkSource wants what the CloudEvents specification asks of source: a URI
// reference that is not empty.
func checkSource(s string) error {
	u, err := url.Parse(s)
	if s == "" || err != nil || strings.ContainsFunc(s, unicode.IsSpace) {
		return errors.New("expects a URI reference such as /omps-consumer")
	}
	if u.User != nil {
		return errors.New("must not hold a user or password")
	}
	return nil
}

// hostname takes underscores too, which container networks use.
var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$`)

func isHost(s string) bool {
	return len(s) <= 253 && hostname.MatchString(s) || net.ParseIP(s) != nil
}

// checkRegistry wants a host or host:port, as image references begin with.
func checkRegistry(s string) error {
	expected := errors.New("expects a registry such as quay.io or localhost:5000, without scheme or path")
	if isHost(s) && !strings.Contains(s, ":") {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || !isHost(host) || !decimal.MatchString(port) {
		return expected
	}
	return checkPort(port, 1)
}

// checkListen wants host:port. No host is every address, port 0 a free one.
func checkListen(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host != "" && !isHost(host) {
		return errors.New("expects host:port such as 127.0.0.1:8080")
	}
	return checkPort(port, 0)
}

func checkPort(s string, least int) error {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || int(port) < least {
		return fmt.Errorf("expects a port from %d to 65535", least)
	}
	return nil
}

// checkWord wants a name that another server knows. Variables are expanded in
// paths alone, so one here would be taken by its letters.
func checkWord(s string) error {
	switch {
	case s == "":
		return errors.New("expects a text that is not empty")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return errors.New("must not hold blanks")
	case strings.Contains(s, "${"):
		return errors.New("variables are expanded in paths only")
	}
	return nil
}

// releaseVersion is the form of the app registry's releases, int.int.int.
var releaseVersion = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}$`)

func checkReleaseVersion(s string) error {
	if !releaseVersion.MatchString(s) {
		return errors.New("expects three numbers such as 1.0.0")
	}
	return nil
}

// placeholder is a name in braces in a template.
var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// fillIn puts samples where a template has placeholders.
func fillIn(template string, samples map[string]string, known string) (string, error) {
	var err error
	text := placeholder.ReplaceAllStringFunc(template, func(p string) string {
		sample, ok := samples[p]
		if !ok && err == nil {
			err = fmt.Errorf("there is no placeholder %s, only %s", p, known)
		}
		return sample
	})
	return text, err
}

func checkRepository(organization, template string) error {
	if _, err := fillIn(template, map[string]string{"{package}": "etcd"}, "{package}"); err != nil {
		return err
	}
	_, err := pipeline.ExpandRepository(organization, template, "etcd")
	return err
}

func checkTag(template string) error {
	nvr := pipeline.NVR{Name: "etcd-operator-container", Version: "1.0", Release: "1"}
	samples := map[string]string{"{version}": "1.2.3", "{nvr}": nvr.String(), "{package}": "etcd"}
	name, err := fillIn(template, samples, "{version}, {nvr} and {package}")
	if err != nil {
		return err
	}
	// What a version or an NVR may hold becomes an underscore; the template's
	// own words are meant as they are.
	if tag, err := pipeline.ExpandTag(template, "etcd", "1.2.3", nvr); err != nil || tag != name {
		return fmt.Errorf("%q cannot be a tag", name)
	}
	return nil
}
