import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { checkFirmwareUrl } from './firmware-url.ts'
import { otaSettings } from './settings.ts'

const settings = otaSettings.parse({
  allowed_urls: [
    'https://firmware.example.org/pumps/',
    'https://cdn.example.org/one.bin',
    'http://10.0.0.1:8080/fw/',
    'https://host.example',
    'https://cdn.example.org/get?file=one',
  ],
})

suite('the address of a firmware', () => {
  for (const url of [
    'https://firmware.example.org/pumps/2.1.0.bin',
    'https://firmware.example.org/pumps/a/b?token=x',
    'https://cdn.example.org/one.bin',
    'https://cdn.example.org/one.bin?x=/../',
    'https://cdn.example.org/get?file=one',
    'https://firmware.example.org/pumps/..2.bin',
    'https://firmware.example.org/pumps/v2..1/x%20y.bin',
    'https://host.example/',
  ]) {
    test(`${url} is allowed`, () => assert.equal(checkFirmwareUrl(url, settings), url))
  }

  test('is sent as it was checked: in the spelling of the standard', () => {
    const sent = checkFirmwareUrl('HTTPS://Firmware.Example.ORG:443/pumps/x/../\ty.bin', settings)
    assert.equal(sent, 'https://firmware.example.org/pumps/y.bin')
  })

  for (const [url, why] of [
    ['https://firmware.example.org/other/x.bin', /no entry/],
    ['https://firmware.example.org/pumps', /no entry/],
    ['https://firmware.example.org/pumps/../other/x.bin', /no entry/],
    ['https://firmware.example.org/pumps/%2e%2e/other/x.bin', /no entry/],
    ['https://firmware.example.org/pumps/..%2fother/x.bin', /encoded separator/],
    ['https://firmware.example.org/pumps/..%5Cother/x.bin', /encoded separator/],
    ['https://firmware.example.org\\@evil.example/pumps/x', /no entry/],
    ['https://firmware.example.org@evil.example/pumps/x', /credentials/],
    ['https://firmware.example.org.evil.example/pumps/x', /no entry/],
    ['https://firmware.example.org:444/pumps/x', /no entry/],
    ['https://firmware.example.org./pumps/x', /no entry/],
    ['https://user:secret@firmware.example.org/pumps/x', /credentials/],
    ['https://firmware.example.org/pumps/x#y', /fragment/],
    ['https://cdn.example.org/one.bin.evil', /no entry/],
    ['http://firmware.example.org/pumps/x', /http, which/],
    ['http://10.0.0.1:8080/fw/x', /http, which/],
    ['file:///etc/passwd', /neither https nor http/],
    ['javascript:alert(1)', /neither https nor http/],
    ['not a url', /no URL/],
    ['https://firmware.example.org/pumps/..%252f..%252fother', /encoded separator/],
    ['https://firmware.example.org/pumps/%252e%252e/other', /hidden step/],
    ['https://firmware.example.org/pumps/..;/other', /hidden step/],
    ['https://firmware.example.org/pumps/..;x=1/other', /hidden step/],
    ['https://firmware.example.org/pumps/x%00.bin', /control character/],
    ['https://firmware.example.org/pumps/x%0d%0aHost:evil', /control character/],
    ['https://0x7f.1/pumps/x', /no entry/],
    ['https://host.example/x', /no entry/],
    ['https://host.example/x/', /no entry/],
    ['https://cdn.example.org/get?file=../two', /no entry/],
    ['https://cdn.example.org/get', /no entry/],
  ] as const) {
    test(`${url} is refused`, () => {
      assert.throws(() => checkFirmwareUrl(url, settings), { code: 'MHV_MQTT_OTA_URL_DENIED', message: why })
    })
  }

  test('http is allowed only by both settings, and nothing is without an entry', () => {
    const http = 'http://10.0.0.1:8080/fw/x'
    assert.equal(checkFirmwareUrl(http, { ...settings, allow_http: true }), http)
    assert.throws(() => checkFirmwareUrl('http://firmware.example.org/pumps/x', { ...settings, allow_http: true }))
    assert.throws(() => checkFirmwareUrl('https://a.example/', otaSettings.parse({})), { message: /allows none/ })
  })

  test('entries of the settings are https or http', () => {
    assert.equal(otaSettings.safeParse({ allowed_urls: ['ftp://a.example/'] }).success, false)
    assert.equal(otaSettings.safeParse({ allowed_urls: ['https'] }).success, false)
    for (const entry of [
      'https://a@b.example/',
      'https://b.example/#x',
      'https://b.example/fw/?file=x',
      'https://b.example/?x',
    ]) {
      assert.equal(otaSettings.safeParse({ allowed_urls: [entry] }).success, false, entry)
    }
  })
})
