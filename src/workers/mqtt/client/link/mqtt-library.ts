import mqtt from 'mqtt'

/** The one place that loads mqtt.js, so that nothing else pays for it (42 ms) before the first connection. */
export const connectMqtt = mqtt.connect

export type { IClientOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt'
