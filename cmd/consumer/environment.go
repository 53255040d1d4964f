package main

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Variables of the environment of `consumer run`, by the names that OMPS's
// container had for them.
const (
	workersVariable = "WORKERS_NUM"
	timeoutVariable = "WORKER_TIMEOUT"
	caVariable      = "CA_URL"
)

const environmentHelp = `Three variables of the environment, when not empty, stand above the file:

  WORKERS_NUM     builds in work at once (intake.workers)
  WORKER_TIMEOUT  seconds for one try of a build (intake.build_timeout)
  CA_URL          http or https address of certificate authorities in PEM form,
                  fetched once at the start and trusted in every outgoing call
                  but those to NATS, besides the system's and tls.ca_files;
                  without them the service does not start`

// Environment is what the environment says beside the configuration file.
type Environment struct {
	Overrides []Override // settings of the file, which the Config has already
	CAURL     string     // "": none; may hold a query, which is nobody else's business
}

// Override is a variable that stands above a key of the file.
type Override struct{ Variable, Key, Value string }

// LoadRunConfig reads the configuration as LoadConfig does, and lets the
// environment stand above it. What a variable says is checked like what the
// file says, and a fault names the variable.
func LoadRunConfig(path string, getenv func(string) string) (Config, Environment, error) {
	var env Environment
	c, err := loadConfig(path, getenv, func(c *Config, f *faults) {
		env.read(c, f, getenv)
		// Checked, and no more: who runs the service need not hold the bridge's secrets.
		c.Bridge.check(f)
		c.Bridge = BridgeConfig{}
	})
	return c, env, err
}

func (e *Environment) read(c *Config, f *faults, getenv func(string) string) {
	e.override(f, getenv, workersVariable, "intake.workers", func(n int) { c.Intake.Workers = n })
	e.override(f, getenv, timeoutVariable, "intake.build_timeout", func(n int) { c.Intake.BuildTimeout = time.Duration(n) * time.Second })
	if e.CAURL = getenv(caVariable); e.CAURL != "" {
		f.names[caVariable] = caVariable
		f.check(caVariable, checkCAURL(e.CAURL))
	}
}

func (e *Environment) override(f *faults, getenv func(string) string, variable, key string, set func(int)) {
	text := getenv(variable)
	if text == "" {
		return
	}
	f.names[key] = variable
	n, err := strconv.ParseInt(text, 10, 32) // as seconds, that is 68 years
	if err != nil || !decimal.MatchString(text) {
		f.add(key, "expects "+errInt.Error())
		return
	}
	set(int(n))
	e.Overrides = append(e.Overrides, Override{Variable: variable, Key: key, Value: text})
}

// checkCAURL takes a query too, unlike checkURL: authorities publish their
// certificates under such addresses.
func checkCAURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", strings.ContainsFunc(s, unicode.IsSpace):
		return errors.New("expects a URL that begins with http:// or https://")
	case u.User != nil:
		return errors.New("must not hold a user or password")
	}
	return nil
}
