package io.hydraopt.demo

import io.hydraopt.Picture
import java.io.IOException

/** A picture that the user chose. */
interface Photo {
    /**
     * Reads it.
     *
     * @throws IOException it is gone, may not be read or is no picture.
     */
    fun read(): Shot
}

/** A picture as the model takes it, and a small one of it to show. */
class Shot(val picture: Picture, val preview: Picture)
