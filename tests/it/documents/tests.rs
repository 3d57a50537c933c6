//! The reader of documents finds the commands that a person would type, and nothing else.

use super::{
    copies::copies,
    read::{Command, plan, read},
};

fn keys(markdown: &str) -> Vec<String> {
    read(markdown).commands.into_iter().map(|command| command.key).collect()
}

#[test]
fn blocks_of_commands_are_found_and_nothing_else() {
    let text = "\
Text
    gantry list is in a paragraph

    make run # comment

    gantry get a     # it's a comment

```yaml
gantry: list
```

```sh
gantry info
```

```text
gantry nothing
```

Then `gantry list` and `make run`.
";
    let document = read(text);
    assert_eq!(keys(text), ["make run", "gantry get a", "gantry info"]);
    assert_eq!(document.commands.iter().map(|c| c.line).collect::<Vec<_>>(), [4, 6, 13]);
    assert_eq!(document.mentions, [(20, "gantry list".into()), (20, "make run".into())]);
    assert_eq!(document.strays, Vec::<usize>::new());
}

#[test]
fn a_command_may_go_on_in_the_lines_below() {
    let text = r#"
    gantry deploy a \
      --image "a # no comment" # comment \
    curl -d '{"a":
      1}' x
    python3 - <<'END'
    # kept, and what looks like a command too
    make run
    END
    make run
"#;
    let document = read(text);
    assert_eq!(
        keys(text),
        [
            "gantry deploy a --image \"a # no comment\"",
            "curl -d '{\"a\": 1}' x",
            "python3 - <<'END' make run END",
            "make run"
        ]
    );
    assert!(document.commands[2].text.contains("\n# kept"), "{:?}", document.commands[2]);
    assert_eq!(document.commands[0].text.lines().count(), 2);
}

#[test]
fn output_belongs_to_the_command_above_it() {
    let text = "
    $ gantry get a
    NAME  STATE
    a     READY

    $ gantry list
    none

Then

    gantry wait a

prints

    a: done
";
    let document = read(text);
    let output: Vec<_> = document.commands.iter().map(|c| (c.transcript, c.output.join("|"))).collect();
    assert_eq!(
        output,
        [(true, "NAME  STATE|a     READY".into()), (true, "none".into()), (false, "a: done".into())]
    );
    assert_eq!(read("\n    a: done\n").strays, [2], "nothing printed that");
    assert_eq!(read("\n    gantyr list\n").strays, [2], "a program that is misspelt is not passed over");
}

#[test]
fn what_a_transcript_shows_is_compared_where_it_is_run() {
    let text = "
    $ gantry get a
    a is ready

    $ gantry get b
    b is ready

Then

    gantry deploy a
    gantry get a   # as above
";
    let steps = plan(&read(text));
    let shown: Vec<_> = steps.iter().map(|step| (step.key.as_str(), step.output.join("|"))).collect();
    assert_eq!(
        shown,
        [
            ("gantry get b", "b is ready".into()),
            ("gantry deploy a", String::new()),
            ("gantry get a", "a is ready".into())
        ]
    );
    assert_eq!(plan(&read("")), Vec::<Command>::new());
}

#[test]
fn copies_of_files_are_found_by_the_comment_above() {
    let text = "\
<!-- a note, see a/b -->
```text
a
```
<!-- clients/a -->
```python
one

  two
```
<!-- clients/b -->

```python
";
    let found = copies(text);
    let found: Vec<_> = found.iter().map(|c| (c.line, c.path.as_str(), c.text.as_str())).collect();
    assert_eq!(found, [(6, "clients/a", "one\n\n  two\n"), (0, "clients/b", "")]);
}
