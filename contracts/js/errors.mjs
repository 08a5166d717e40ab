/** What goes wrong in the helper itself; what a contract refuses is the library's own error. */
/** Nothing was sent, unless the code is about a request. */
export class InferenceError extends Error {
    code;
    index;
    value;
    position;
    constructor(code, message, place = {}) {
        super(message);
        this.name = "InferenceError";
        this.code = code;
        Object.assign(this, place);
    }
}
