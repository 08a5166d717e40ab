// solc's WebAssembly build as a command: standard JSON in, standard JSON out.
// The stock command fails on more than 64 KB of piped input; reading stdin as a stream does not.
const [, , modules, packageName] = process.argv;
const fs = require("fs");
const path = require("path");
const solc = require(path.join(modules, packageName));

let input = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (chunk) => (input += chunk));
process.stdin.on("end", () => {
  const readImport = (name) => {
    for (const base of [process.cwd(), modules]) {
      const file = path.join(base, name);
      if (fs.existsSync(file)) return { contents: fs.readFileSync(file, "utf8") };
    }
    return { error: `File not found: ${name}` };
  };
  process.stdout.write(solc.compile(input, { import: readImport }), () => process.exit(0));
});
