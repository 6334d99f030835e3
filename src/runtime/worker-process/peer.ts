import type { MhvError } from '../../core/errors.ts'
import { type Message, type Packed, packThrown, unpackThrown } from './messages.ts'
import { createReferences } from './references.ts'

/** What one side lets the other call. Every argument and answer is structured-cloneable, functions and signals too. */
export type Methods = object

/** One end of a channel between two processes: calls of what the other end has. */
export interface Peer<Remote extends Methods> {
  /**
   * Calls a method of the other side. Rejects with what it threw, with the reason given to `end`, or, where the arguments
   * cannot be sent, with that error: then nothing was sent.
   */
  call<M extends keyof Remote & string>(method: M, ...args: ArgsOf<Remote[M]>): Promise<AnswerOf<Remote[M]>>
  /** Calls without an answer; what cannot be sent any more is dropped. */
  tell<M extends keyof Remote & string>(method: M, ...args: ArgsOf<Remote[M]>): void
  /**
   * What came over the channel. Methods are called before this returns, in the order in which the calls came. Throws where
   * it is none of our messages.
   */
  receive(message: unknown): void
  /** The other side is gone: every call that has no answer yet is rejected with this. */
  end(reason: MhvError): void
}

// biome-ignore lint/suspicious/noExplicitAny: what a function takes and gives, whatever it is
type ArgsOf<F> = F extends (...args: infer A) => any ? A : never
// biome-ignore lint/suspicious/noExplicitAny: see ArgsOf
type AnswerOf<F> = F extends (...args: any[]) => infer R ? Awaited<R> : never

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

type Callable = (...args: unknown[]) => unknown

/**
 * @param own what the other side may call
 * @param send puts a message on the channel; throws what cannot be cloned (`DataCloneError`)
 */
export function createPeer<Remote extends Methods>(own: Methods, send: (message: Message) => void): Peer<Remote> {
  const waiting = new Map<number, Waiting>()
  let lastId = 0
  let ended: MhvError | undefined
  const post = (message: Message) => {
    if (ended === undefined) send(message)
  }
  const references = createReferences(post, (fn, args) =>
    ask((id, packed) => ({ kind: 'invoke', id, fn, args: packed }), args),
  )

  function ask(messageOf: (id: number, args: Packed) => Message, args: readonly unknown[]): Promise<unknown> {
    if (ended !== undefined) return Promise.reject(ended)
    lastId += 1
    const id = lastId
    const { packed, done } = references.pack(args)
    return new Promise<unknown>((resolve, reject) => {
      waiting.set(id, { resolve, reject })
      try {
        send(messageOf(id, packed))
      } catch (error) {
        waiting.delete(id)
        reject(error)
      }
    }).finally(done)
  }

  async function answer(id: number, act: Callable, packed: Packed): Promise<void> {
    let done: (() => void) | undefined
    try {
      const unpacked = references.unpack(packed)
      done = unpacked.done
      const result = await act(...(unpacked.value as unknown[]))
      post({ kind: 'return', id, value: references.pack(result).packed })
    } catch (thrown) {
      post({ kind: 'throw', id, error: packThrown(thrown) })
    } finally {
      done?.()
    }
  }

  function methodOf(name: string): Callable {
    const method = Object.hasOwn(own, name) ? (own as Record<string, Callable>)[name] : undefined
    if (method === undefined) throw new Error(`the other process has no method ${name}`)
    return method
  }

  function settle(id: number, act: (call: Waiting) => void): void {
    const call = waiting.get(id)
    waiting.delete(id)
    if (call !== undefined) act(call)
  }

  function receive(given: unknown): void {
    const message = given as Message
    switch (message.kind) {
      case 'call':
        void answer(message.id, (...args) => methodOf(message.method)(...args), message.args)
        return
      case 'invoke':
        void answer(message.id, (...args) => references.own(message.fn)(...args), message.args)
        return
      case 'tell':
        methodOf(message.method)(...(references.unpack(message.args).value as unknown[]))
        return
      case 'return':
        settle(message.id, ({ resolve }) => resolve(references.unpack(message.value).value))
        return
      case 'throw':
        settle(message.id, ({ reject }) => reject(unpackThrown(message.error)))
        return
      case 'abort':
        references.abort(message.signal, unpackThrown(message.reason))
        return
      case 'forget':
        references.forget(message.fn)
        return
      default:
        throw new TypeError('no message of this kind')
    }
  }

  return {
    call: (method, ...args) => ask((id, packed) => ({ kind: 'call', id, method, args: packed }), args) as never,
    tell: (method, ...args) => post({ kind: 'tell', method, args: references.pack(args).packed }),
    receive,
    end(reason) {
      ended ??= reason
      for (const { reject } of waiting.values()) reject(reason)
      waiting.clear()
    },
  }
}
