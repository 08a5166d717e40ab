"use strict";
/** What goes wrong in the helper itself; what a contract refuses is the library's own error. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.InferenceError = void 0;
/** Nothing was sent, unless the code is about a request. */
class InferenceError extends Error {
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
exports.InferenceError = InferenceError;
