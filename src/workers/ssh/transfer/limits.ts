/** Files that the result names one by one; the output of the run names all of them. */
export const RESULT_FILES = 100
