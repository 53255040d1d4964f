package quay

import (
	"encoding/base64"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/omps-consumer/omps-consumer/internal/clients"
)

// account is a robot account that pushes. Its password may be replaced at any time: the
// library asks for it at each login. A nil account is nobody.
type account struct {
	username string
	password clients.Credential
}

var _ authn.Authenticator = (*account)(nil)

func accountOf(username string, password clients.Credential) *account {
	if username == "" || clients.SecretOf(password) == "" {
		return nil
	}
	return &account{username: username, password: password}
}

// authenticator is how the library logs in.
func (r *account) authenticator() authn.Authenticator {
	if r == nil {
		return authn.Anonymous
	}
	return r
}

// Authorization is the login of this moment.
func (r *account) Authorization() (*authn.AuthConfig, error) {
	return &authn.AuthConfig{Username: r.username, Password: r.password.Secret().Reveal()}, nil
}

// basic is the robot's login as basic authentication has it, RFC 7617.
func (r *account) basic() string {
	return base64.StdEncoding.EncodeToString([]byte(r.username + ":" + r.password.Secret().Reveal()))
}

// secrets is what no error may hold.
func (r *account) secrets() []string {
	if r == nil {
		return nil
	}
	return []string{r.basic(), r.password.Secret().Reveal()}
}
