// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"rochdale/backups/shelf"
)

// example is a kit with everything in it.
func example() Kit {
	key := []byte(`{"hostname":"box","kdf":"scrypt"}`)
	sum := sha256.Sum256(key)
	return Kit{
		Schema: Schema, Box: Box{"Mensajería del Sur", "mensajeria.example"},
		Serial: 7, Issued: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Epoch: 2,
		Restic: "0.19.1", Configuration: "schema: 1\nname: box\n",
		Repositories: []Repository{{
			Name: "offsite", ID: strings.Repeat("ab", 32), URL: "s3:https://s3.example.com/coop/backup", Password: "a password",
			Env:     map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a secret"},
			Options: []string{"s3.bucket-lookup=path"},
			Files:   map[string][]byte{"/etc/rochdale/backup.key": []byte("a key")},
			Own:     shelf.RepositoryFiles{Config: bytes.Repeat([]byte{1, 2, 0xff}, 50), Keys: map[string][]byte{hex.EncodeToString(sum[:]): key}},
		}},
	}
}

func sealed(t *testing.T, k Kit, s Secret) []byte {
	t.Helper()
	recipient, err := s.Recipient()
	if err != nil {
		t.Fatal(err)
	}
	file, err := Seal(k, recipient)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSealAndOpen(t *testing.T) {
	s := NewSecret()
	file := sealed(t, example(), s)
	got, err := Open(file, s)
	if err != nil || !reflect.DeepEqual(got, example()) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, secret := range []string{"a password", "a secret", "a key", "mensajeria", "s3.example.com"} {
		if bytes.Contains(file, []byte(secret)) {
			t.Errorf("the file shows %q", secret)
		}
	}
}

// TestPlainAge opens a kit with age's own words alone, as one does who has the
// pages and no program of ours.
func TestPlainAge(t *testing.T) {
	s := NewSecret()
	text, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	identities, err := age.ParseIdentities(strings.NewReader(text + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed(t, example(), s)), identities...)
	if err != nil {
		t.Fatal(err)
	}
	var k Kit
	if err := json.NewDecoder(r).Decode(&k); err != nil || k.Repositories[0].Password != "a password" {
		t.Errorf("got %v", err)
	}
}

func TestOtherPages(t *testing.T) {
	if _, err := Open(sealed(t, example(), NewSecret()), NewSecret()); problemOf(err).ID != "kit.other-pages" {
		t.Errorf("got %v", err)
	}
	if _, err := Open(sealed(t, example(), NewSecret()), Secret{}); err == nil {
		t.Error("no secret opened a kit")
	}
}

// TestBrokenFiles cuts a kit at every length and flips a bit in every byte.
func TestBrokenFiles(t *testing.T) {
	s := NewSecret()
	file := sealed(t, example(), s)
	check := func(what string, broken []byte) {
		k, err := Open(broken, s)
		id := problemOf(err).ID
		if err == nil || id != "kit.not-a-kit" && id != "kit.damaged" && id != "kit.other-pages" || k.Schema != 0 {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for n := range file {
		check(fmt.Sprintf("cut to %d bytes", n), file[:n])
		flipped := bytes.Clone(file)
		flipped[n] ^= 1
		check(fmt.Sprintf("byte %d flipped", n), flipped)
	}
	check("something behind it", append(bytes.Clone(file), 'x'))
	check("far too long", make([]byte, MaxSealed+1))
	check("text", []byte("<html>404 not found</html>"))
}

func TestContentThatIsRefused(t *testing.T) {
	good, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(good); err != nil {
		t.Fatal(err)
	}
	replace := func(old, better string) string {
		if !strings.Contains(string(good), old) {
			t.Fatalf("no %s in %s", old, good)
		}
		return strings.Replace(string(good), old, better, 1)
	}
	for name, c := range map[string]struct{ content, id string }{
		"a newer schema":             {replace(`"schema":1`, `"schema":2`), "kit.newer"},
		"newer with unknown things":  {`{"schema":3,"everything":"is new"}`, "kit.newer"},
		"no schema":                  {replace(`"schema":1,`, ``), "kit.damaged"},
		"an unknown field":           {replace(`"serial":7`, `"serial":7,"cereal":8`), "kit.damaged"},
		"a wrong type":               {replace(`"serial":7`, `"serial":"7"`), "kit.damaged"},
		"no serial number":           {replace(`"serial":7`, `"serial":0`), "kit.damaged"},
		"no epoch":                   {replace(`"epoch":2`, `"epoch":0`), "kit.damaged"},
		"no password":                {replace(`"a password"`, `""`), "kit.damaged"},
		"a key with another content": {replace(`"keys":{"`, `"keys":{"0`), "kit.damaged"},
		"two documents":              {string(good) + "{}", "kit.damaged"},
		"half":                       {string(good[:len(good)/2]), "kit.damaged"},
		"nothing":                    {"", "kit.damaged"},
		"null":                       {"null", "kit.damaged"},
		"far too long":               {strings.Repeat(" ", maxContent+1), "kit.damaged"},
	} {
		if _, err := Decode([]byte(c.content)); problemOf(err).ID != c.id {
			t.Errorf("%s: %v, want %s", name, err, c.id)
		}
	}
}

// TestKitsThatAreNotMade: what could not be read is not sealed.
func TestKitsThatAreNotMade(t *testing.T) {
	recipient, err := NewSecret().Recipient()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", maxWord+1)
	many := map[string]string{}
	for i := range maxEntries + 1 {
		many[strconv.Itoa(i)] = "x"
	}
	for name, change := range map[string]func(*Kit){
		"no repository":           func(k *Kit) { k.Repositories = nil },
		"too many repositories":   func(k *Kit) { k.Repositories = make([]Repository, maxRepositories+1) },
		"a repository twice":      func(k *Kit) { k.Repositories = append(k.Repositories, k.Repositories[0]) },
		"no name":                 func(k *Kit) { k.Box.Name = "" },
		"a long name":             func(k *Kit) { k.Box.Domain = long },
		"a long configuration":    func(k *Kit) { k.Configuration = strings.Repeat("x", maxText+1) },
		"no address":              func(k *Kit) { k.Repositories[0].URL = "" },
		"a long address":          func(k *Kit) { k.Repositories[0].URL = long },
		"a long option":           func(k *Kit) { k.Repositories[0].Options = []string{long} },
		"a long variable":         func(k *Kit) { k.Repositories[0].Env["x"] = long },
		"many variables":          func(k *Kit) { k.Repositories[0].Env = many },
		"a long file":             func(k *Kit) { k.Repositories[0].Files["x"] = make([]byte, maxText+1) },
		"no config":               func(k *Kit) { k.Repositories[0].Own.Config = nil },
		"no keys":                 func(k *Kit) { k.Repositories[0].Own.Keys = nil },
		"no time":                 func(k *Kit) { k.Issued = time.Time{} },
		"all at its bound, twice": func(k *Kit) { k.Repositories[0].Files = bigFiles(9) },
	} {
		k := example()
		change(&k)
		if _, err := Seal(k, recipient); problemOf(err).ID != "kit.not-made" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Seal(example(), "age1nonsense"); problemOf(err).ID != "kit.not-made" {
		t.Errorf("no recipient: %v", err)
	}
}

func bigFiles(n int) map[string][]byte {
	files := map[string][]byte{}
	for i := range n {
		files[strconv.Itoa(i)] = make([]byte, maxText)
	}
	return files
}

func TestFingerprint(t *testing.T) {
	of := func(change func(*Kit)) string {
		k := example()
		change(&k)
		f, err := k.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := of(func(*Kit) {})
	if again := of(func(k *Kit) { k.Serial, k.Issued = 99, time.Now() }); again != first {
		t.Error("number and time make a difference")
	}
	if other := of(func(k *Kit) { k.Repositories[0].Password = "another" }); other == first {
		t.Error("a new password makes no difference")
	}
}

// FuzzDecode: whatever opens, the content is a kit that encodes again, or a
// problem for a person.
func FuzzDecode(f *testing.F) {
	good, err := example().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":2}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := Decode(data)
		if err != nil {
			if problemOf(err).ID == "" {
				t.Fatalf("no words for a person: %v", err)
			}
			return
		}
		if _, err := k.Encode(); err != nil {
			t.Fatalf("it is read and not written: %v", err)
		}
	})
}
