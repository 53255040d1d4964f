package clients

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxText   = 300 // bytes of a message or a URL in an error
	minSecret = 4   // bytes; blanking shorter ones would only garble a message
)

// ParseURL reads the configured address of a server. Its errors do not repeat
// the address, which may hold credentials.
func ParseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("address is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("address is not an http or https URL with a host")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("address has a query or a fragment")
	}
	return u, nil
}

// redact is u without what may be secret: userinfo, query and fragment.
func redact(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return OneLine(bare.String(), maxText)
}

// inner is err without the layers of net/http that spell out the whole URL.
func inner(err error) error {
	for {
		e, ok := err.(*url.Error) //nolint:errorlint // peels off the outermost layers only
		if !ok {
			return err
		}
		err = e.Err
	}
}

// Told is what a server says to a request, fit for a log and an error: one line
// of bounded length, without the credentials and the query that it was sent.
func Told(text string, req *http.Request) string {
	return OneLine(withoutSecrets(text, req), maxText)
}

// withoutSecrets blanks what a server echoes of the credentials and the query
// that it was sent.
func withoutSecrets(text string, req *http.Request) string {
	for _, secret := range secretsOf(req) {
		if len(secret) >= minSecret {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

func secretsOf(req *http.Request) []string {
	secrets := []string{req.URL.RawQuery, req.Header.Get("Cookie")}
	for _, values := range req.URL.Query() {
		secrets = append(secrets, values...)
	}
	if user := req.URL.User; user != nil {
		password, _ := user.Password()
		secrets = append(secrets, password, user.Username())
	}
	if user, password, ok := req.BasicAuth(); ok {
		secrets = append(secrets, password, user)
	}
	for _, name := range []string{"Authorization", "Proxy-Authorization"} {
		value := req.Header.Get(name)
		_, credentials, _ := strings.Cut(value, " ")
		secrets = append(secrets, value, credentials)
	}
	return secrets
}

// OneLine is text from outside, made fit for a log and an error: printable, on
// one line, and cut to at most limit bytes, which are more than two.
func OneLine(text string, limit int) string {
	const cut = "…"
	line := strings.Join(strings.Fields(strings.Map(printable, text)), " ")
	if len(line) <= limit {
		return line
	}
	end := limit - len(cut)
	for !utf8.RuneStart(line[end]) {
		end--
	}
	return strings.TrimRight(line[:end], " ") + cut
}

// printable is a strings.Map mapping that makes blanks spaces and drops what
// cannot be seen.
func printable(r rune) rune {
	switch {
	case unicode.IsSpace(r):
		return ' '
	case !unicode.IsPrint(r), r == utf8.RuneError:
		return -1
	}
	return r
}
